"""Find the training that a run resumes, and whether it is the same training."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from parmtrain.config.faults import Fault, named
from parmtrain.config.identity import differences, first_of, identity
from parmtrain.programs import Network
from parmtrain.run_folder import BEST, RunFolder
from parmtrain.training.callbacks import tells_of_a_best
from parmtrain.training.checkpoints import read_checkpoint

log = logging.getLogger(__name__)


def resuming(cfg: DictConfig, folder: RunFolder) -> DictConfig:
    """Return a configuration that resumes the unfinished run in a folder, if there is one."""
    if cfg.ckpt_path is not None or cfg.overwrite or not folder.unfinished:
        return cfg
    resumed = cfg.copy()
    resumed.ckpt_path = str(folder.last)
    return resumed


def resume_faults(cfg: DictConfig, folder: RunFolder, given: Network | None) -> Iterator[Fault]:
    """Yield a fault if the checkpoint to resume from cannot be read or is of another training.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run will write.
        given: A deployed model in place of ``deployed.path``.
    """
    if cfg.ckpt_path is None:
        return
    path = Path(cfg.ckpt_path).expanduser()
    if not path.is_file():
        yield Fault("ckpt_path", f"ckpt_path must be an existing file, got {path or 'an empty one'}")
        return
    in_folder = path.absolute() == folder.last.absolute()
    anew = "name another folder, or start over with overwrite=true"
    content = read_checkpoint(path)
    if content is None:
        other = f"ckpt_path must be a checkpoint of a training, got {path}, a damaged file or one of another kind"
        yield Fault("ckpt_path", f"{path} is damaged; {anew}" if in_folder else other)
        return
    best = path.parent / BEST
    if tells_of_a_best(content) and (not best.is_file() or read_checkpoint(best) is None):
        wrong = "is damaged" if best.is_file() else "does not exist"
        mend = anew if in_folder else "put it back, or start over without ckpt_path"
        yield Fault("ckpt_path", f"{best} must hold the best epoch of the training in {path}, but {wrong}; {mend}")
    theirs: dict[str, Any] | None = content.get("configuration")
    if theirs is None:
        log.warning("%s does not state its configuration; make sure that the same training goes on", path)
        return
    trained_here = given is None and cfg.deployed.path is None
    if trained_here != any(key.startswith("deployed.fit.") for key in theirs):
        theirs_was = "trained" if given is not None or cfg.deployed.path is not None else "given, not trained"
        yield Fault("deployed", f"{path} is of a training whose deployed model was {theirs_was}; resume it likewise")
        return
    differing = differences(theirs, identity(cfg, trained_here))
    if differing and in_folder:
        about = f"{named(folder.path)} holds an unfinished run with {first_of(differing)}; {anew}"
        yield Fault("hydra.run.dir", about)
    elif differing:
        yield Fault(
            "ckpt_path",
            f"ckpt_path={path} is of a training with {first_of(differing)}; resume with the configuration that the "
            "training started with",
        )
