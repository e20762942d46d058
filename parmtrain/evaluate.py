"""Scoring an exported bundle again: ``python -m parmtrain.evaluate RUN_FOLDER``."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain.bundle import Bundle
from parmtrain.config import assemble
from parmtrain.deployed import Network
from parmtrain.errors import DataError, DeployedModelError, ParmtrainError
from parmtrain.evaluation.predictions import predict_all
from parmtrain.evaluation.score import score
from parmtrain.report.table import show
from parmtrain.tasks.base import Task
from parmtrain.training.fit import quiet

CONFIG = "config.yaml"


def evaluate(
    folder: str | Path, root: str | None = None, path: str | None = None, deployed: Network | None = None
) -> dict[str, Any]:
    """Score a run's bundle on the test split of its task.

    Args:
        folder: The run's folder.
        root: Data root, where it is another than the run's.
        path: File of the deployed model, where it is another than the run's.
        deployed: The deployed model itself, in place of a file.

    Returns:
        The scores, as ``metrics.json`` has them.

    Raises:
        DataError: If the folder holds no run or its data is not there.
        DeployedModelError: If the deployed model is not the one that the bundle was trained for.
        ExportError: If the bundle is incomplete or changed.
    """
    folder = Path(folder)
    quiet()
    cfg = _config(folder, root, path)
    about = Bundle(folder).about
    task: Task = assemble.build(cfg.task)
    splits = task.splits()
    frozen = assemble.deployed_model(cfg, task, splits, deployed)
    expected = about["deployed"]["fingerprint"]
    if frozen.fingerprint != expected:
        raise DeployedModelError(
            f"the bundle in {folder} was trained for the deployed model {expected[:16]}…, and this one is "
            f"{frozen.fingerprint[:16]}…; --deployed-path names the file of the right one"
        )
    bundle = Bundle(folder, frozen)
    predictions = predict_all(
        frozen, splits.test, task.input, assemble.cache_folder(cfg), "predicting test", workers=cfg.data.workers
    )
    default = task.default(splits.train.labels, splits.test.labels)
    scores = score(
        bundle, task, splits.test, predictions, cfg.seed, list(cfg.unavailable), default, workers=cfg.data.workers
    )
    return {"task": task.name, "code": about["code"], "k": about["k"], "r": about["r"], **scores}


def _config(folder: Path, root: str | None, path: str | None) -> DictConfig:
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} holds no run: there is no {folder / CONFIG}")
    cfg = OmegaConf.load(folder / CONFIG)
    assert isinstance(cfg, DictConfig)
    if root is not None:
        cfg.task.source.root = root
    if path is not None:
        cfg.deployed.path = path
    return cfg


def main(arguments: list[str] | None = None) -> int:
    """Score the bundle that the command line names and print one table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m parmtrain.evaluate", description="Score an exported bundle again.")
    parser.add_argument("folder", metavar="RUN_FOLDER", help="folder that a run wrote")
    parser.add_argument("--data-root", help="where the data is, if not where it was")
    parser.add_argument("--deployed-path", help="file of the deployed model, if not where it was")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("parmtrain").setLevel(logging.INFO)
    try:
        show(evaluate(given.folder, given.data_root, given.deployed_path), Path(given.folder))
    except ParmtrainError as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
