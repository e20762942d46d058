"""A comparison: run what was not run before, then write the table."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from parmtrain.compare import plot, table
from parmtrain.compare.jobs import Job, jobs_of
from parmtrain.compare.table import Row
from parmtrain.config.check import check
from parmtrain.errors import ConfigError, TrainingError
from parmtrain.runs import run
from parmtrain.training.fit import quiet

log = logging.getLogger(__name__)


def compare(overrides: Sequence[str], study: str | Path) -> list[Row]:
    """Compare codes: train what needs training, reuse what is there, write ``table.md``, ``table.csv`` and a plot.

    Args:
        overrides: Overrides as ``python -m parmtrain -m`` takes them, lists of values included; ``code=all`` stands for
            every code. Combinations that a code cannot take are left out, and the table says why.
        study: Folder of the comparison. The same call goes on where an earlier one stopped.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: With every fault of the configurations, before any work.
        TrainingError: If some runs failed, once all others are done and written.
        Interrupted: If the user stops it.
    """
    study = Path(study)
    quiet()
    supported, unsupported = _supported(jobs_of(overrides, study))
    waiting = [job for job in supported if not job.finished]
    _check(waiting)
    log.info(
        "%d runs: %d are there, %d to do, in %s", len(supported), len(supported) - len(waiting), len(waiting), study
    )
    failed: list[str] = []
    for number, job in enumerate(waiting, 1):
        try:
            metrics = run(job.cfg, job.folder).metrics
        except TrainingError as fault:
            failed.append(f"{job.title}: {fault}")
            log.warning("[%d/%d] %s: %s", number, len(waiting), job.title, fault)
            continue
        degraded, all_k = (metrics[part][metrics["measure"]] for part in ("degraded", "all_k"))
        log.info("[%d/%d] %s: A_d %.4f, all k %.4f", number, len(waiting), job.title, degraded, all_k)
    results = [(job.variant, job.metrics) for job in supported if job.finished]
    rows = _write(results, unsupported, study) if results else []
    if failed:
        raise TrainingError("\n".join([f"{len(failed)} runs failed:", *failed]))
    return rows


def _supported(jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    reasons = {job.title: job.unsupported() for job in jobs}
    sentences = list(dict.fromkeys(reason for reason in reasons.values() if reason))
    if len(jobs) and all(reasons.values()):
        raise ConfigError(sentences)
    return [job for job in jobs if not reasons[job.title]], sentences


def _check(jobs: Sequence[Job]) -> None:
    faults: list[str] = []
    for job in track(jobs, description="checking", transient=True):
        try:
            check(job.cfg, job.folder)
        except ConfigError as fault:
            faults += fault.faults
    if faults:
        for job in jobs:
            if job.folder.is_dir() and not any(job.folder.iterdir()):
                job.folder.rmdir()
        raise ConfigError(list(dict.fromkeys(faults)))


def _write(results: Sequence[tuple[str, dict[str, Any]]], unsupported: Sequence[str], study: Path) -> list[Row]:
    rows, metrics = table.rows_of(results), results[0][1]
    available = metrics["available"][metrics["measure"]]
    title = f"{metrics['task']}: codes compared, {metrics['measure']}, A_a = {available:.4f}"
    table.write_csv(rows, study / "table.csv")
    table.write_markdown(rows, unsupported, title, study / "table.md")
    plot.accuracy_against_resources(rows, available, metrics["task"], study / "codes.png")
    return rows
