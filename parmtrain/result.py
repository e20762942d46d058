"""The result of a run: its record, its module, and the files that it writes."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from parmtrain.answers import output_of
from parmtrain.bounds import Bounds, require
from parmtrain.bundle import Bundle, ExportFormat, export
from parmtrain.bundle.formats import rounds
from parmtrain.config import assemble
from parmtrain.deployed import DeployedModel
from parmtrain.drawing import save
from parmtrain.errors import InputError, reason_of
from parmtrain.evaluation.certainty import Calibrated
from parmtrain.evaluation.costs import resources, timings
from parmtrain.evaluation.ordinary import ordinary_queries
from parmtrain.evaluation.scores import Scores
from parmtrain.files import write_json
from parmtrain.loggers import Published, publish
from parmtrain.parity_training import Trained
from parmtrain.prepared import Prepared
from parmtrain.probes import answers
from parmtrain.report import pictures, plots
from parmtrain.report.card import write_card
from parmtrain.report.confidence import confidence_plot
from parmtrain.report.metrics_json import BestEpoch, RunRecord, best_epoch, training_of
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.groups import some_groups
from parmtrain.training.parity_module import ParityModule

log = logging.getLogger(__name__)
SOME = 8  # queries
SHOWN_GROUPS = 4
CPU = torch.device("cpu")
FITTING_QUERIES = 128  # of the training split, to which formats that round numbers are fitted


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a run.

    Args:
        record: Everything that it measured.
        module: The module with the best epoch's weights.
        folder: Folder of its files.
        task: Its task.
        splits: Its queries.
    """

    record: RunRecord
    module: ParityModule
    folder: Path
    task: Task
    splits: "Splits[QuerySet]"

    def __repr__(self) -> str:
        """Return what was trained, how it scores, and where it is."""
        record, scores = self.record, self.record.scores
        about = f"task={record.task} code={record.code} k={record.scheme.k}"
        return f"<Result {about}: {scores.measure} {scores.degraded.main:.4f} degraded, in {self.folder}>"

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of ``metrics.json``."""
        return self.record.to_json()

    def picture(self, groups: int = SHOWN_GROUPS) -> Figure:
        """Draw some coding groups of the validation split, each with one lost and reconstructed prediction."""
        require("groups", groups, Bounds(least=1, integer=True), InputError)
        module = self.module
        some = some_groups(self.splits.val, module.k, groups, self.record.seed, self.task.input, module.device)
        return pictures.coding_groups(pictures.decoded_groups(module, module.deployed, some), self.task)


def write(
    work: Prepared, trained: Trained, scores: Scores, place: RunFolder, logger: Any, trusted: Calibrated | None
) -> Result:
    """Write the bundle, plots and pictures, and ``metrics.json`` last."""
    task, module, measure = work.task, trained.module, scores.measure
    code, models = module.code, list(module.parity_models)
    about = {
        "task": task.name,
        "classes": task.classes,
        "preprocessing": task.input.settings,
        "metrics": scores.to_json(),
        "partial": work.cfg.partial or code.independent,
        "independent": code.independent,
        "precision": str(work.cfg.trainer.get("precision", "32-true")),
        "queries": ordinary_queries(work.splits, task.input).to_json(),
        "deployed": _deployed_of(work, trained.device),
        "kind": module.measures.kind,
        "promises": trusted.promises.to_json() if trusted else None,
    }
    format = assemble.build(work.cfg.export)
    held = work.deployed if work.cfg.deployed.bundle else None
    export_module(work, module, about, place.export, format, held, trusted)
    queries = len(work.splits.train) // module.k * module.k
    record = RunRecord(
        task=task.name,
        code=code.label,
        seed=work.cfg.seed,
        scheme=module.scheme(task.outputs),
        scores=scores,
        cost=resources(code, models, work.deployed, task.query_shape, trained.device),
        timing=_timings(work, place, trained.device),
        training=training_of(trained.history, queries),
        validation=_validated(work, trained),
        fingerprint=work.deployed.fingerprint,
        data=work.data,
    )
    write_card(work.cfg, record.to_json(), place.export)
    result = Result(record, module, place.path, task, work.splits)
    _draw(result, trained, place)
    if logger:
        logger.log_metrics(
            {f"test/available_{measure}": scores.available[measure], f"test/degraded_{measure}": scores.degraded.main}
        )
    write_json(place.metrics, record.to_json())
    if logger:
        _publish(logger, record, place)
    return result


def export_module(
    work: Prepared,
    module: ParityModule,
    about: dict[str, Any],
    folder: Path,
    format: ExportFormat,
    deployed: DeployedModel | None,
    trusted: Calibrated | None,
) -> None:
    """Export a trained module as a bundle.

    Args:
        work: Task, data and deployed model of its run.
        module: The module.
        about: What the bundle states.
        folder: Folder to write.
        format: Format of its parts.
        deployed: The deployed model, if the bundle holds it.
        trusted: How far its reconstructions can be trusted, if that is known.

    Raises:
        ExportError: If a part cannot be exported.
    """
    task, confidence = work.task, trusted.confidence if trusted is not None else None
    assert confidence is None or isinstance(confidence, nn.Module)
    groups = None
    if rounds(format):
        count = max(FITTING_QUERIES // module.k, 1)
        groups = some_groups(work.splits.train, module.k, count, work.cfg.seed, task.input, CPU).queries
    export(
        module.code,
        list(module.parity_models),
        task.query_shape,
        task.outputs,
        about,
        folder,
        format,
        deployed,
        _some_queries(work),
        confidence,
        groups,
    )


def _draw(result: Result, trained: Trained, place: RunFolder) -> None:
    """Write the plots and pictures of a run."""
    record = result.record
    if trained.history.epochs:
        plots.training_curves(trained.history.epochs, record.scores.measure, place.training_curves)
    plots.overall_accuracy(record, place.overall_accuracy)
    if record.scores.certainty:
        confidence_plot(record, place.confidence)
    save(result.picture(), place.examples)


def _publish(logger: Any, record: RunRecord, place: RunFolder) -> None:
    """Give a logger what a finished run has to show; the run stays finished if that fails."""
    drawn = (place.training_curves, place.overall_accuracy, place.confidence, place.examples)
    about = {"task": record.task, "code": record.code, "k": record.scheme.k, "n": record.scheme.n}
    published = Published(
        name=f"{record.task}-{record.code}-k{record.scheme.k}",
        pictures={path.stem: path for path in drawn if path.is_file()},
        bundle=place.export,
        about=about | {"deployed": record.fingerprint, "degraded": record.scores.degraded.main},
    )
    try:
        publish(logger, published)
    except Exception as fault:  # each service has its own errors
        log.warning("the logger did not take the pictures and the bundle: %s", reason_of(fault))


def _some_queries(work: Prepared) -> Tensor:
    """Return a few prepared queries of the validation split ``[b, *query]``."""
    stored, _ = work.splits.val[torch.arange(min(SOME, len(work.splits.val)))]
    queries: Tensor = work.task.input.cpu()(stored.cpu())
    return queries


def _deployed_of(work: Prepared, device: torch.device) -> dict[str, Any]:
    """Return what a bundle states about F, with its answers to fixed queries, since weights do not say what it does."""
    deployed = work.deployed
    known = {"fingerprint": deployed.fingerprint, "origin": work.origin, "output": output_of(deployed.network)}
    known["flatten"] = work.task.input.flatten and work.task.input.features is None
    known["takes"], known["scale"] = work.cfg.deployed.takes.name, work.task.input.settings.get("scale", 1.0)
    try:
        return known | {"answers": answers(deployed.cpu(), work.task.query_shape)}  # as whoever loads it will ask
    finally:
        deployed.to(device)


def _timings(work: Prepared, place: RunFolder, device: torch.device) -> dict[str, Any]:
    """Time the exported programs on the CPU; an F that is not among them is timed as it is, and moved back."""
    bundle = Bundle(place.export)
    if bundle.deployed is not None:
        return timings(bundle)
    try:
        return timings(bundle.take_deployed(work.deployed))
    finally:
        work.deployed.to(device)


def _validated(work: Prepared, trained: Trained) -> BestEpoch:
    """Return A_d on the validation split with one straggler, to choose among codes by, and the best epoch."""
    scores = work.evaluate(trained.module, trained.device, work.splits.val)
    metric = f"degraded_{scores.measure}"
    best = best_epoch(trained.history.epochs, metric)
    return BestEpoch(metric, scores.degraded.main, best.epoch if best else None)
