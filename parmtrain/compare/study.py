"""Run a comparison: train what is missing, then write the table."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from parmtrain.command import progress
from parmtrain.compare import plot, table
from parmtrain.compare.budget import Budget, best, read_budget
from parmtrain.compare.plan import RUNS, PlannedRun, planned_runs
from parmtrain.compare.results import readable_metrics
from parmtrain.compare.rows import rows_of
from parmtrain.compare.table import Row
from parmtrain.compare.telling import telling_once
from parmtrain.config.check import check, require_no_faults
from parmtrain.config.faults import Fault
from parmtrain.config.resuming import resuming
from parmtrain.errors import ConfigError, DataError, InputError, TrainingError
from parmtrain.files import cannot_write
from parmtrain.inputs import as_folder
from parmtrain.metrics.measures import AGREEMENT
from parmtrain.outputs import COMPARISON, TABLE
from parmtrain.prepared import Prepared
from parmtrain.run_folder import RunFolder
from parmtrain.runs import run
from parmtrain.training.fit import quiet

log = logging.getLogger(__name__)
TOLD = (
    "the table has the runs of this command; %d other finished runs in %s are not in it: a command that names them, "
    "too, puts all of them into it, and trains none again"
)


def compare(overrides: Sequence[str], study: str | Path, config_dir: str | None = None) -> list[Row]:
    """Compare codes: train what is missing, reuse finished runs, write ``table.md``, ``table.csv`` and a plot.

    Args:
        overrides: Overrides as ``parmtrain -m`` takes them, lists of values included; ``code=all`` stands for
            every code. Combinations that a code does not support are left out, and the table says why. The table
            names the best code within ``budget.flops``, ``budget.bytes`` and ``budget.dispatches`` of a group.
        study: Folder of the comparison. The same call resumes an interrupted one.
        config_dir: Folder with YAML files of your own.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: With every fault of the configurations, before any work.
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
    supported, unsupported = _supported(planned_runs(overrides, study, config_dir))
    for title, reason in unsupported.items():
        log.warning("left out: %s: %s", title, reason)
    waiting = [one for one in supported if not one.folder.finished]
    _require_same((one for one in supported if one.folder.finished), more_to_do=bool(waiting))
    _fetch(waiting)
    log.info("%d finished and %d to do, in %s", len(supported) - len(waiting), len(waiting), study)
    with telling_once():
        failed = _run(waiting)
    results = [(one.variant, _results(one)) for one in supported if one.folder.finished]
    left_out = [f"{title}: {reason}" for title, reason in unsupported.items()]
    rows = _write(results, left_out, budget, study) if results else []
    if others := sum(RunFolder(path).finished for path in (study / RUNS).iterdir()) - len(results):
        log.info(TOLD, others, study)
    if failed:
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
        raise TrainingError("\n".join([f"{runs} failed:", *failed]))
    return rows


def _run(waiting: Sequence[PlannedRun]) -> list[str]:
    """Run what is to do, one after the other; return a sentence for each run that failed."""
    failed: list[str] = []
    for number, one in enumerate(waiting, 1):
        try:
            scores = run(one.cfg, one.folder.path).record.scores
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


def _supported(planned: Sequence[PlannedRun]) -> tuple[list[PlannedRun], dict[str, str]]:
    """Return the runs whose code supports their k, r, task and deployed model, and the reasons for the others by title.

    Raises:
        ConfigError: With every fault of another kind, or if no run is left.
    """
    unsupported, faults = dict[str, str](), list[Fault]()
    for one in progress(planned, "checking"):
        if one.folder.finished:
            continue
        found = [Fault("code", reason, True)] if (reason := one.unsupported()) else _faults(one)
        faults += [fault for fault in found if not fault.unsupported]
        unsupported.update((one.title, fault.sentence) for fault in found)
    require_no_faults(faults)
    if len(unsupported) == len(planned):
        raise ConfigError(list(dict.fromkeys(unsupported.values())))
    return [one for one in planned if one.title not in unsupported], unsupported


def _faults(planned: PlannedRun) -> list[Fault]:
    return check(resuming(planned.cfg, planned.folder), planned.folder)


def _fetch(planned: Sequence[PlannedRun]) -> None:
    missing = []
    for work in {one.cfg.task.name: Prepared(one.cfg) for one in planned}.values():
        try:
            work.fetch()
        except DataError as fault:
            missing.append(str(fault))
    if missing:
        raise ConfigError(missing)


def _require_same(finished: Iterable[PlannedRun], more_to_do: bool) -> None:
    """Raise a ``ConfigError`` if a finished run used other data or another deployed model than are asked for.

    Args:
        finished: Finished runs.
        more_to_do: Whether there will be more runs, for which the data is read anyway.
    """
    seen: dict[str, Prepared] = {}
    for one in finished:
        cfg, metrics, theirs = one.cfg, readable_metrics(one.folder), one.folder.read_config()
        work = seen.setdefault(f"{cfg.task} {cfg.data.root} {cfg.deployed.path}", Prepared(cfg))
        elsewhere = f"name another --folder, or remove {one.folder.path}"
        root = str(Path(cfg.data.root).expanduser().absolute())
        moved = "root" in cfg.task.source and root != OmegaConf.select(theirs, "data.root")
        if metrics.get("data") and (more_to_do or moved) and metrics["data"] != work.data:
            raise ConfigError(
                [f"the data in data.root={cfg.data.root} is not what {one.folder.path} used; {elsewhere}"]
            )
        if cfg.deployed.path is not None and metrics["deployed"]["fingerprint"] != work.deployed.fingerprint:
            raise ConfigError([f"deployed.path={cfg.deployed.path} is not what {one.folder.path} used; {elsewhere}"])


def _write(
    results: Sequence[tuple[str, dict[str, Any]]], unsupported: Sequence[str], budget: Budget, study: Path
) -> list[Row]:
    rows, metrics = rows_of(results), results[0][1]
    every = [row["available"] for row in rows]
    available = min(every)
    spread = f"{available:.4f}" if f"{available:.4f}" == f"{max(every):.4f}" else f"{available:.4f} to {max(every):.4f}"
    scored = f"A_a = {spread}"
    if metrics["measure"] == AGREEMENT:
        scored = "without labels: A_d is the agreement with the deployed model's own predictions"
    title = f"{metrics['task']}: codes compared, {metrics['measure']}, {scored}"
    table.write_csv(rows, study / TABLE)
    chosen = best(rows, budget)
    table.write_markdown(rows, unsupported, title, study / "table.md", table.chosen_lines(chosen, str(budget)))
    plot.accuracy_against_resources(rows, metrics["measure"], f"{metrics['task']}, {scored}", study / "codes.png")
    if not chosen:
        log.info("no code is within %s", budget)
    for row in chosen:
        named = " ".join(part for part in (f"code={row['code']}", row["variant"]) if part)
        about = f"k={row['k']} {named}, A_d {row['validation']:.4f} on the validation split"
        log.info("best within %s: %s", budget, about)
    return rows
