"""Score an exported bundle again: ``parmtrain evaluate RUN_FOLDER``."""

import logging
import sys
from pathlib import Path
from typing import Any

from parmtrain.arguments import Arguments
from parmtrain.bundle import Bundle
from parmtrain.command import ending_quietly, exit_status, log_to_terminal
from parmtrain.evaluation.certainty import Calibrated
from parmtrain.evaluation.scores import Scores
from parmtrain.programs import Network
from parmtrain.progress import showing
from parmtrain.reopened import reopen
from parmtrain.report.table import show, title_of
from parmtrain.settings import keyed, switch
from parmtrain.training.fit import quiet

log = logging.getLogger(__name__)


def evaluate(
    folder: str | Path,
    root: str | None = None,
    path: str | None = None,
    deployed: Network | None = None,
    data: Any = None,
) -> dict[str, Any]:
    """Score a run's bundle on the test split of its task.

    Args:
        folder: The run's folder.
        root: Data root, if it differs from the run's.
        path: File of the deployed model, if it differs from the run's.
        deployed: The deployed model itself, in place of a file.
        data: The data sets, where the run had them from Python, as for ``parmtrain.run``: the run's own, or others with
            a test split, since one data set alone is shared out.

    Returns:
        The scores, as ``metrics.json`` has them.

    Raises:
        DataError: If the folder does not hold a run, or its data is missing.
        DeployedModelError: If the deployed model is not the one that the bundle was trained for.
        ExportError: If the bundle is incomplete or changed.
    """
    bundle, scores = score_again(folder, root, path, deployed, data)
    about = bundle.about
    return {"task": about["task"], "code": about["code"], "k": bundle.k, "r": about["r"], **scores.to_json()}


def score_again(
    folder: str | Path,
    root: str | None = None,
    path: str | None = None,
    deployed: Network | None = None,
    data: Any = None,
) -> tuple[Bundle, Scores]:
    """Return a run's bundle and its scores; the arguments and errors are those of ``evaluate``."""
    quiet()
    prepared, bundle = reopen(folder, {"task.source.root": root, "deployed.path": path}, deployed, data)
    other = root is not None or data is not None
    stated = prepared.place.read_metrics().get("data") if other and prepared.place.finished else None
    if stated and stated != prepared.data:
        where = f"--data-root {root}: the data there, or its labels, are" if data is None else "data: it is"
        log.warning("%s not what the run used; its test split is scored", where)
    trusted = None
    if bundle.confidence is not None and bundle.promises is not None:
        trusted = Calibrated(bundle.confidence.program, bundle.promises)
    return bundle, prepared.evaluate(bundle, trusted=trusted)


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Score the bundle that the command line names and print one table; return the exit status."""
    parser = Arguments("evaluate", "Score an exported bundle again.", example="runs/mine data.root=/data")
    parser.add_argument("folder", metavar="RUN_FOLDER", help="folder that a run wrote")
    parser.add_settings(
        "data.root=…, the folder of the data, and deployed.path=…, the file of the deployed model, if they moved; "
        "progress=false says nothing on the way",
    )
    parser.add_argument("--data-root", help="the same as data.root=…")
    parser.add_argument("--deployed-path", help="the same as deployed.path=…")
    given = parser.read(arguments)
    log_to_terminal()

    def work() -> None:
        known = keyed(given.settings, ("data.root", "deployed.path", "progress"))
        root, path = known.get("data.root", given.data_root), known.get("deployed.path", given.deployed_path)
        with showing(switch(known, "progress")):
            bundle, scores = score_again(given.folder, root, path)
        title = title_of(bundle.about["task"], bundle.about["code"], bundle.k, bundle.about["r"])
        show(title, scores)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
