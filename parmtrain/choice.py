"""``code=auto``: choose a code for a deployed model by short trainings of a few candidates."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain import __version__
from parmtrain.bounds import Count, Share
from parmtrain.cache import key_of
from parmtrain.config import assemble
from parmtrain.config.check import check, require_no_faults
from parmtrain.config.faults import Fault, any_about
from parmtrain.config.identity import identity
from parmtrain.config.resuming import resuming
from parmtrain.config.signatures import misnamed
from parmtrain.deployed import private_copy
from parmtrain.errors import ConfigError, TrainingError
from parmtrain.files import write_json
from parmtrain.parity_training import train
from parmtrain.prepared import Prepared
from parmtrain.probes import answers
from parmtrain.programs import Network
from parmtrain.report.metrics_json import best_epoch
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.source import Source

log = logging.getLogger(__name__)
ABOUT_A_CODE = ("code", "parity.model", "loss")  # faults that another candidate may not have


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
    code = None if OmegaConf.is_missing(cfg, "code") else cfg.get("code")
    return isinstance(code, DictConfig) and code.get("_target_") == f"{Auto.__module__}.{Auto.__name__}"


def settled(
    cfg: DictConfig, folder: RunFolder, deployed: Network | None = None, data: Source | None = None
) -> DictConfig:
    """Return a configuration with the code of the best candidate by A_d on the validation split, if it asks for that.

    Each candidate is trained for a share of the epochs; its score is cached. No other configuration is changed.

    Args:
        cfg: A composed configuration.
        folder: Folder that the run will write.
        deployed: The deployed model, in place of ``deployed.path``.
        data: Data in place of ``task.source``.

    Raises:
        ConfigError: If no candidate fits, or the configuration has other faults.
        DataError: If the data is missing or damaged.
        Interrupted: If the user stops it.
        TrainingError: If a training has to stop.
    """
    if not is_auto(cfg):
        return cfg
    _require_candidates(cfg)
    given = None if deployed is None else private_copy(deployed)
    candidates = _supported(cfg, folder, given, data)
    work = Prepared(next(iter(candidates.values())), given, data)
    work.fetch()
    _ = work.splits, work.deployed  # read once, for all candidates
    scores: dict[str, float] = {}
    for name, candidate in candidates.items():
        try:
            scores[name] = _score(name, work.under(_shortened(candidate, cfg.code.share)))
        except TrainingError as fault:
            log.warning("code=auto: %s is left out: %s", name, fault)
    if not scores:
        raise TrainingError("code=auto: the training of every candidate failed; name a code, or lower optim.lr")
    best = max(scores, key=lambda name: scores[name])
    listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    log.info("code=auto takes %s, which scores best on the validation split: %s", best, listed)
    return _with_code(cfg, best)


def _require_candidates(cfg: DictConfig) -> None:
    """Raise a ``ConfigError`` unless ``code=auto`` has candidates, and numbers within their bounds."""
    require_no_faults(fault for fault in misnamed(cfg) if any_about([fault], "code"))
    candidates = cfg.code.get("candidates")
    if not isinstance(candidates, DictConfig) or not candidates:
        raise ConfigError([f"code.candidates must be one or more codes by name, got {candidates or 'none'}"])
    for name, node in candidates.items():
        if not isinstance(node, DictConfig) or node.get("_target_") is None:
            raise ConfigError([f"code.candidates.{name!s} must name a code with _target_, got {node}"])


def _supported(cfg: DictConfig, folder: RunFolder, given: Network | None, data: Source | None) -> dict[str, DictConfig]:
    """Return the configurations of the first candidates that can be trained.

    Raises:
        ConfigError: If there is none, or the configuration has faults that are not about a code.
    """
    candidates: dict[str, DictConfig] = {}
    refused: list[Fault] = []
    for name in cfg.code.candidates:
        candidate = _with_code(cfg, name)
        candidate.ckpt_path = None
        faults = check(candidate, folder, given, data)
        require_no_faults(fault for fault in faults if not any(any_about([fault], key) for key in ABOUT_A_CODE))
        if faults:
            refused += faults
        else:
            candidates[name] = candidate
        if len(candidates) == cfg.code.most:
            return candidates
    if not candidates:
        raise ConfigError(list(dict.fromkeys(fault.sentence for fault in refused)))
    return candidates


def _shortened(cfg: DictConfig, share: float) -> DictConfig:
    """Return a configuration with a share of the epochs, and without callbacks and a logger."""
    short = cfg.copy()
    short.trainer.max_epochs = max(1, round(share * cfg.trainer.max_epochs))
    short.callbacks, short.logger = {}, None
    return short


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
        "answers": answers(work.deployed, work.task.query_shape),
        "version": __version__,
    }
    place = RunFolder(assemble.cache_folder(work.cfg) / "choices" / key_of(same))
    kept = place.path / "score.json"
    known = _read(kept)
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
