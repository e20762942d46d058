"""The logger of a run: started before anything is trained, closed at its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain.config import assemble
from parmtrain.errors import ConfigError, reason_of
from parmtrain.run_folder import RunFolder


@contextmanager
def started_logger(cfg: DictConfig, place: RunFolder) -> Iterator[Any]:
    """Build and start the logger, since some log in first, and close it at the end."""
    if not cfg.logger:
        yield False
        return
    logger = assemble.build(cfg.logger, save_dir=str(place.logs))
    try:
        experiment = logger.experiment
    except Exception as fault:  # each service has its own errors
        raise ConfigError([f"logger={cfg.logger._target_} cannot start: {reason_of(fault)}"]) from fault
    logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    try:
        yield logger
    finally:
        logger.finalize("")
        if hasattr(experiment, "finish"):  # a run at Weights & Biases stays open until then
            experiment.finish()
