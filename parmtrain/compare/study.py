"""Run a comparison: train what is missing, then write the table."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from parmtrain.compare.budget import read_budget
from parmtrain.compare.outputs import write
from parmtrain.compare.plan import RUNS, PlannedRun, planned_runs
from parmtrain.compare.results import readable_metrics
from parmtrain.compare.table import Row
from parmtrain.config.check import check, require_no_faults
from parmtrain.config.faults import Fault
from parmtrain.config.given_data import with_data
from parmtrain.config.resuming import resuming
from parmtrain.deployed import DeployedModel, private_copy
from parmtrain.errors import ConfigError, DataError, InputError, TrainingError
from parmtrain.files import cannot_write
from parmtrain.inputs import as_folder
from parmtrain.once import telling_once
from parmtrain.outputs import COMPARISON
from parmtrain.prepared import Prepared
from parmtrain.programs import Network
from parmtrain.progress import progress, showing
from parmtrain.run_folder import RunFolder
from parmtrain.runs import run
from parmtrain.training.fit import quiet

log = logging.getLogger(__name__)
TOLD = (
    "the table has the runs of this command; %d other finished runs in %s are not in it: a command that names them, "
    "too, puts all of them into it, and trains none again"
)


class Given(NamedTuple):
    """What a comparison was given from Python.

    Args:
        deployed: The deployed model, in place of ``deployed.path``.
        data: Data sets, in place of ``task.source``.
    """

    deployed: Network | None = None
    data: Any = None

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells runs of this deployed model and of given data from others."""
        own = () if self.deployed is None else (DeployedModel(private_copy(self.deployed)).fingerprint,)
        return own if self.data is None else (*own, "data")

    def prepared(self, cfg: DictConfig) -> Prepared:
        """Return the task, data and deployed model of a configuration."""
        cfg, source = with_data(cfg, self.data)
        return Prepared(cfg, self.deployed, source)

    def faults(self, planned: PlannedRun) -> list[Fault]:
        """Return every fault of a planned run."""
        work = self.prepared(planned.cfg)
        return check(resuming(work.cfg, planned.folder), planned.folder, work.given, work.data_given)


def compare(
    overrides: Sequence[str],
    study: str | Path,
    config_dir: str | None = None,
    deployed: Network | None = None,
    data: Any = None,
) -> list[Row]:
    """Compare codes: train what is missing, reuse finished runs, write ``table.md``, ``table.csv`` and a plot.

    Args:
        overrides: Overrides as ``parmtrain -m`` takes them, lists of values included; ``code=all`` stands for
            every code. Combinations that a code does not support are left out, and the table says why. The table
            names the best code within ``budget.flops``, ``budget.bytes`` and ``budget.dispatches`` of a group.
        study: Folder of the comparison. The same call resumes an interrupted one.
        config_dir: Folder with YAML files of your own.
        deployed: The deployed model, as for ``parmtrain.run``.
        data: Data sets, as for ``parmtrain.run``.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: With every fault of the configurations, before any work.
        DeployedModelError: If the given deployed model is none, or does not fit the task.
        TrainingError: If some runs failed, once all others are done and written.
        Interrupted: If the user stops it.
    """
    study = as_folder("--folder", study)
    if isinstance(overrides, str) or not all(isinstance(one, str) for one in overrides):
        raise InputError(f'overrides must be a list of texts, ["k=2,3"], got {overrides!r}')
    if why := cannot_write(study):
        raise ConfigError([f"--folder {study} cannot be written: {why}"])
    if why := COMPARISON.in_the_way(study):
        raise ConfigError([f"--folder {study} {why}; name another --folder"])
    quiet()
    budget, overrides = read_budget(overrides)
    given = Given(deployed, data)
    planned = planned_runs(overrides, study, config_dir, given.identity)
    with showing(planned[0].cfg.progress):
        supported, unsupported = _supported(planned, given)
        for title, reason in unsupported.items():
            log.warning("left out: %s: %s", title, reason)
        waiting = [one for one in supported if not one.folder.finished]
        _require_same((one for one in supported if one.folder.finished), given, more_to_do=bool(waiting))
        _fetch(waiting, given)
    log.info("%d finished and %d to do, in %s", len(supported) - len(waiting), len(waiting), study)
    with telling_once():
        failed = _run(waiting, given)
    results = [(one.variant, _results(one)) for one in supported if one.folder.finished]
    left_out = [f"{title}: {reason}" for title, reason in unsupported.items()]
    rows = write(results, left_out, budget, study) if results else []
    if others := sum(RunFolder(path).finished for path in (study / RUNS).iterdir()) - len(results):
        log.info(TOLD, others, study)
    if failed:
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
        raise TrainingError("\n".join([f"{runs} failed:", *failed]))
    return rows


def _run(waiting: Sequence[PlannedRun], given: Given) -> list[str]:
    """Run what is to do, one after the other; return a sentence for each run that failed."""
    failed: list[str] = []
    for number, one in enumerate(waiting, 1):
        try:
            scores = run(one.cfg, one.folder.path, given.deployed, given.data).record.scores
        except (TrainingError, DataError) as fault:
            failed.append(f"{one.title}: {fault}")
            log.warning("[%d/%d] %s: %s", number, len(waiting), one.title or one.folder.path.name, fault)
            continue
        degraded, all_k = scores.degraded.main, scores.all_k.main
        log.info(
            "[%d/%d] %s: A_d %.4f, all k %.4f", number, len(waiting), one.title or one.folder.path.name, degraded, all_k
        )
    return failed


def _results(one: PlannedRun) -> dict[str, Any]:
    """Return the metrics of a finished run, under the name that the command line gives to its code."""
    metrics = readable_metrics(one.folder)
    return metrics | {"code": one.option or metrics["code"]}


def _supported(planned: Sequence[PlannedRun], given: Given) -> tuple[list[PlannedRun], dict[str, str]]:
    """Return the runs whose code supports their k, r, task and deployed model, and the reasons for the others by title.

    Raises:
        ConfigError: With every fault of another kind, or if no run is left.
    """
    unsupported, faults = dict[str, str](), list[Fault]()
    for one in progress(planned, "checking"):
        if one.folder.finished:
            continue
        found = [Fault("code", reason, True)] if (reason := one.unsupported()) else given.faults(one)
        faults += [fault for fault in found if not fault.unsupported]
        unsupported.update((one.title, fault.sentence) for fault in found)
    require_no_faults(faults)
    if len(unsupported) == len(planned):
        raise ConfigError(list(dict.fromkeys(unsupported.values())))
    return [one for one in planned if one.title not in unsupported], unsupported


def _fetch(planned: Sequence[PlannedRun], given: Given) -> None:
    missing = []
    for work in {one.cfg.task.name: given.prepared(one.cfg) for one in planned}.values():
        try:
            work.fetch()
        except DataError as fault:
            missing.append(str(fault))
    if missing:
        raise ConfigError(missing)


def _require_same(finished: Iterable[PlannedRun], given: Given, more_to_do: bool) -> None:
    """Raise a ``ConfigError`` if a finished run used other data or another deployed model than are asked for.

    Args:
        finished: Finished runs.
        given: What was given from Python.
        more_to_do: Whether there will be more runs, for which the data is read anyway.
    """
    seen: dict[str, Prepared] = {}
    for one in finished:
        cfg, metrics, theirs = one.cfg, readable_metrics(one.folder), one.folder.read_config()
        work = seen.setdefault(f"{cfg.task} {cfg.data.root} {cfg.deployed.path}", given.prepared(cfg))
        elsewhere = f"name another --folder, or remove {one.folder.path}"
        root = str(Path(cfg.data.root).expanduser().absolute())
        source = "the data" if given.data is not None else f"the data in data.root={cfg.data.root}"
        moved = given.data is not None or ("root" in cfg.task.source and root != OmegaConf.select(theirs, "data.root"))
        if metrics.get("data") and (more_to_do or moved) and metrics["data"] != work.data:
            raise ConfigError([f"{source} is not what {one.folder.path} used; {elsewhere}"])
        if cfg.deployed.path is not None and metrics["deployed"]["fingerprint"] != work.deployed.fingerprint:
            raise ConfigError([f"deployed.path={cfg.deployed.path} is not what {one.folder.path} used; {elsewhere}"])
