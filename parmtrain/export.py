"""Export a finished run in other formats, and score each: ``parmtrain export RUN [formats=onnx,…] [key=value …]``."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from parmtrain.arguments import Arguments
from parmtrain.bounds import twice
from parmtrain.bundle import Bundle, ExportFormat
from parmtrain.bundle.description import DEPLOYED, parity_model
from parmtrain.bundle.formats import rounds
from parmtrain.codes.erasures import arrivals, decode_each
from parmtrain.command import Terminal, ending_quietly, exit_status, log_to_terminal
from parmtrain.config import assemble
from parmtrain.config.compose import compose
from parmtrain.config.folder import require_folder
from parmtrain.config.sources import options
from parmtrain.errors import ConfigError, ExportError
from parmtrain.evaluation.certainty import Calibrated
from parmtrain.evaluation.costs import timings
from parmtrain.files import replacing
from parmtrain.outputs import TABLE
from parmtrain.parity_training import restored
from parmtrain.progress import showing
from parmtrain.reopened import Reopened, reopen
from parmtrain.report.card import write_card
from parmtrain.report.formats import Exported, formats_table, write_formats
from parmtrain.result import export_module
from parmtrain.settings import keyed, switch
from parmtrain.training.fit import quiet
from parmtrain.training.groups import some_groups
from parmtrain.training.parity_module import ParityModule

log = logging.getLogger("parmtrain.export")
FORMATS = ("torchscript", "torch_export", "onnx", "onnx_int8")
STATED = (
    "task", "classes", "preprocessing", "metrics", "partial", "independent", "precision", "queries", "deployed", "kind",
    "version",
)  # fmt: skip
COMPARED = 64  # groups of the validation split on which programs are compared with the module
CPU = torch.device("cpu")


def export_run(
    folder: str | Path,
    formats: Sequence[str] = FORMATS,
    root: str | None = None,
    path: str | None = None,
    config_dir: str | None = None,
) -> list[Exported]:
    """Write a finished run in some formats into ``exports/FORMAT`` of its folder, each a bundle, and score each.

    Every program is compared with the module that it was, or scored alone where the format rounds numbers. A format
    that cannot hold the run, or needs a package that is missing, has a row that says why.

    Args:
        folder: The run's folder.
        formats: Options of the group ``export``.
        root: Data root, if it differs from the run's.
        path: File of the deployed model, if it differs from the run's.
        config_dir: A folder with YAML files of your own formats.

    Raises:
        ConfigError: If there is no such format, or one is named twice.
        DataError: If the folder does not hold a run, or its data or its checkpoint is missing.
        DeployedModelError: If the deployed model is not the one that the run was trained for.
    """
    quiet()
    require_folder(config_dir)
    known = options("export", config_dir)
    unknown = [name or "an empty name" for name in formats if name not in known]
    if unknown:
        raise ConfigError([f"formats: unknown {', '.join(unknown)}; choose from {', '.join(known)}"])
    if not formats:
        raise ConfigError([f"formats must name one or more of {', '.join(known)}"])
    if (again := twice(list(formats))) is not None:
        raise ConfigError([f"formats must be different, got {again} twice"])
    prepared, bundle = reopen(folder, {"task.source.root": root, "deployed.path": path})
    place = prepared.place
    module = restored(prepared, place)
    trusted = prepared.calibrate(module, module.code.independent)
    rows = []
    for name in formats:
        log.info("export=%s", name)
        try:
            format = assemble.build(compose(f"export={name}", config_dir=config_dir).export)
            with replacing(place.exports / name) as temporary:
                rows.append(_exported(name, format, prepared, bundle, module, trusted, temporary))
        except ExportError as fault:
            earlier = (place.exports / name).is_dir()
            rows.append(Exported(name, why_not=f"{fault}{'; what is there is of an earlier call' if earlier else ''}"))
    write_formats(rows, place.exports / TABLE)
    return rows


def _exported(
    name: str,
    format: ExportFormat,
    prepared: Reopened,
    bundle: Bundle,
    module: ParityModule,
    trusted: Calibrated | None,
    folder: Path,
) -> Exported:
    """Export in one format into a folder, load what was written, and score it."""
    about = {key: bundle.about[key] for key in STATED if key in bundle.about}
    held = prepared.deployed if prepared.cfg.deployed.bundle else None

    def write(trusted: Calibrated | None) -> Bundle:
        about["promises"] = trusted.promises.to_json() if trusted else None
        export_module(prepared, module, about, folder, format, held, trusted)
        written = Bundle(folder)
        return written if written.deployed is not None else written.take_deployed(prepared.deployed)

    if rounds(format):  # what it promises and states is of what it answers, not of the module
        rough = write(None)
        trusted = prepared.calibrate(rough, module.code.independent)
        about["metrics"] = prepared.evaluate(rough, trusted=trusted).to_json()
    written = write(trusted)
    known = None
    if written.confidence is not None and written.promises is not None:
        known = Calibrated(written.confidence.program, written.promises)
    scores, times = prepared.evaluate(written, trusted=known), timings(written)
    if prepared.place.finished:
        write_card(prepared.cfg, prepared.place.read_metrics() | scores.to_json(), folder)
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    models = {f"{parity_model(j)}{format.suffix}" for j in range(len(module.parity_models))}
    return Exported(
        format=name,
        degraded=scores.degraded.main,
        agreement=scores.degraded.agreement,
        difference=_difference(prepared, module, written),
        parity_bytes=sum(size for file, size in files.items() if file in models) or None,
        bytes=sum(files.values()),
        parity_us=times["parity_us"],
        deployed_us=times["deployed_us"],
        why_not="" if any(file.startswith(DEPLOYED) for file in files) else "without the deployed model",
    )


@torch.no_grad()
def _difference(prepared: Reopened, module: ParityModule, written: Bundle) -> float:
    """Return the largest difference of a reconstructed number between a module and its programs."""
    some = some_groups(prepared.splits.val, module.k, COMPARED, prepared.cfg.seed, prepared.task.input, CPU)
    predictions = prepared.deployed(some.queries.flatten(0, 1)).unflatten(0, some.queries.shape[:2])
    every = arrivals(module.n, 1)
    own, other = (
        decode_each(one.decode, one.gather(predictions, one.predict(one.encode(some.queries))), every)
        for one in (module, written)
    )
    apart = (own - other).abs()
    apart[own.isnan() & other.isnan()] = 0.0
    return float(apart.nan_to_num(nan=torch.inf).max())


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Export the run that the command line names and print one table; return the exit status."""
    parser = Arguments(
        "export",
        "Export a finished run in several formats, and score each on the test split, in one table.",
        example="runs/mine formats=onnx,onnx_int8",
    )
    parser.add_argument("folder", metavar="RUN", help="folder that a run wrote")
    parser.add_settings(
        f"formats={','.join(FORMATS)}, by default; data.root=…, the folder of the data, if it has moved; "
        "deployed.path=…, the file of the deployed model, if it has moved; progress=false says nothing on the way",
    )
    parser.add_config_dir("YAML files of your own formats")
    given = parser.read(arguments)
    log_to_terminal()

    def work() -> None:
        known = keyed(given.settings, ("formats", "data.root", "deployed.path", "progress"))
        names = known["formats"].split(",") if "formats" in known else FORMATS
        root, path = known.get("data.root"), known.get("deployed.path")
        with showing(switch(known, "progress")):
            rows = export_run(given.folder, names, root, path, given.config_dir)
        Terminal(wide=True).print(formats_table(rows, Bundle(given.folder).about["metrics"]["measure"]))
        there = [row.format for row in rows if row.bytes is not None]
        if not there:
            raise ExportError("no format can hold this run; the table says why")
        print(f"in exports of the run's folder: table.csv, and the bundles {', '.join(there)}")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
