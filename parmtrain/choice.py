"""``code=auto``: choose a code for a deployed model by short trainings of a few candidates."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain.bounds import Count, Share
from parmtrain.cache import key_of
from parmtrain.config import assemble
from parmtrain.config.check import check, require_no_faults
from parmtrain.config.faults import Fault, any_about
from parmtrain.config.identity import identity
from parmtrain.config.resuming import resuming
from parmtrain.config.signatures import misnamed
from parmtrain.errors import ConfigError
from parmtrain.files import write_json
from parmtrain.parity_training import train
from parmtrain.prepared import Prepared
from parmtrain.programs import Network
from parmtrain.report.metrics_json import best_epoch
from parmtrain.run_folder import RunFolder

log = logging.getLogger(__name__)


class Auto:
    """What ``code=auto`` tries; a configuration names it in the place of a code.

    Args:
        candidates: Codes by name, each as a configuration states one, the most promising first.
        most: How many of those that support the task and the deployed model are tried.
        share: Epochs of a trial ÷ those of the run.
    """

    def __init__(self, candidates: Mapping[str, Any], most: Count = 3, share: Share = 0.2) -> None:
        self.candidates, self.most, self.share = candidates, most, share


def is_auto(cfg: DictConfig) -> bool:
    """Return whether a configuration leaves the choice of the code to ``code=auto``."""
    return bool(OmegaConf.select(cfg, "code._target_") == f"{Auto.__module__}.{Auto.__name__}")


def settled(cfg: DictConfig, folder: RunFolder, deployed: Network | None = None) -> DictConfig:
    """Return a configuration with the code of the best candidate by A_d on the validation split, if it asks for that.

    Each candidate is trained for a share of the epochs; its score is cached. No other configuration is changed.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run will write.
        deployed: The deployed model, in place of ``deployed.path``.

    Raises:
        ConfigError: If no candidate fits, or the configuration has other faults.
        DataError: If the data is missing or damaged.
        Interrupted: If the user stops it.
        TrainingError: If a training has to stop.
    """
    if not is_auto(cfg):
        return cfg
    require_no_faults(fault for fault in misnamed(cfg) if any_about([fault], "code"))
    trials = _trials(cfg, folder, deployed)
    work = Prepared(next(iter(trials.values())), deployed)
    work.fetch()
    _ = work.splits, work.deployed  # read once, for all trials
    scores = {name: _score(name, work.under(trial)) for name, trial in trials.items()}
    best = max(scores, key=lambda name: scores[name])
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    log.info("code=auto takes %s, which has the best A_d on the validation split: %s", best, listed)
    return _with_code(cfg, best)


def _trials(cfg: DictConfig, folder: RunFolder, deployed: Network | None) -> dict[str, DictConfig]:
    """Return configurations of short trainings, one for each of the first candidates that can be trained.

    Raises:
        ConfigError: If there is none, or the configuration has faults that are not about a code.
    """
    trials: dict[str, DictConfig] = {}
    refused: list[Fault] = []
    for name in cfg.code.candidates:
        trial = _with_code(cfg, name)
        trial.trainer.max_epochs = max(1, round(cfg.code.share * cfg.trainer.max_epochs))
        faults = check(trial, folder, deployed)
        others = [fault for fault in faults if not any(any_about([fault], key) for key in ("code", "parity.model"))]
        require_no_faults(others)
        if faults:
            refused += faults
        else:
            trials[name] = trial
        if len(trials) == cfg.code.most:
            return trials
    if not trials:
        raise ConfigError([fault.sentence for fault in refused] or ["code.candidates must have one or more, got none"])
    return trials


def _with_code(cfg: DictConfig, name: str) -> DictConfig:
    """Return a configuration with a candidate's code, whose interpolations are those of the configuration."""
    chosen = cfg.copy()
    chosen.code = OmegaConf.create(OmegaConf.to_container(cfg.code.candidates[name], resolve=False))
    return chosen


def _score(name: str, work: Prepared) -> float:
    """Return A_d of a candidate on the validation split after a short training, from the cache if possible."""
    same = {
        "training": identity(work.cfg, work.trains_deployed),
        "data": [part.digest for part in work.splits[:2]],
        "deployed": work.deployed.fingerprint,
    }
    place = RunFolder(assemble.cache_folder(work.cfg) / "choices" / key_of(same))
    kept = place.path / "score.json"
    known = _read(kept) if work.deployed.has_weights else None
    if known is not None:
        return known
    log.info("code=auto: trying %s for %d epochs", name, work.cfg.trainer.max_epochs)
    work = work.under(resuming(work.cfg, place))
    trained = train(work, place, logger=False)
    measure = f"degraded_{work.measures.name}"
    best = best_epoch(trained.history.epochs, measure)
    score = best.value if best else work.evaluate(trained.module, trained.device, work.splits.val).degraded.main
    write_json(kept, {"candidate": name, measure: score, "score": score})
    shutil.rmtree(place.checkpoints, ignore_errors=True)
    return score


def _read(path: Path) -> float | None:
    """Return a score of the cache; None if it is not there or damaged."""
    try:
        score = json.loads(path.read_text(encoding="utf-8"))["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return score if isinstance(score, float) else None
