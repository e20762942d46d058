"""Loggers, each with its real client: curves, pictures, and the bundle."""

import os
import time
import warnings
from pathlib import Path

import pytest
import wandb
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from parmtrain import load
from parmtrain.loggers import Published
from tests.small_runs import small_run

PICTURES = {"training", "overall_accuracy", "confidence", "examples"}


def logged_with(logger: str, folder: Path, *more: str) -> None:
    """Make a small run with a logger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # raised by the clients themselves
        small_run(folder, f"logger={logger}", *more, "trainer.max_epochs=1")


@pytest.mark.slow
def test_weights_and_biases_get_everything_offline(tmp_path: Path) -> None:
    logged_with("wandb", tmp_path, "logger.offline=true")
    pictures = {path.stem.partition("_")[0] for path in (tmp_path / "logs").rglob("media/images/*.png")}
    assert pictures == {name.partition("_")[0] for name in PICTURES}
    (file,) = (tmp_path / "logs").rglob("*.wandb")
    wanted = {b"val/degraded_accuracy", b"test/degraded_accuracy", b"optim", b"parity-bundle", b"digits-sum-k2"}
    wanted |= {path.name.encode() for path in (tmp_path / "export").iterdir()}
    deadline, missing = time.monotonic() + 30, wanted
    while missing and time.monotonic() < deadline:  # its writer is a process of its own
        written = file.read_bytes()
        missing = {one for one in wanted if one not in written}
        time.sleep(0.1)
    assert not missing
    assert wandb.run is None  # it has ended


@pytest.mark.thorough
def test_tensorboard_gets_curves_and_pictures(tmp_path: Path) -> None:
    logged_with("tensorboard", tmp_path)
    (folder,) = {path.parent for path in (tmp_path / "logs").rglob("events.out.tfevents.*")}
    tags = EventAccumulator(str(folder)).Reload().Tags()
    assert {"val/degraded_accuracy", "test/degraded_accuracy"} <= set(tags["scalars"])
    assert set(tags["images"]) == PICTURES


@pytest.mark.thorough
def test_mlflow_gets_curves_pictures_and_the_bundle(tmp_path: Path) -> None:
    logged_with("mlflow", tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "parmtrain"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["code/k"] == "2"
    assert {"val/degraded_accuracy", "test/degraded_accuracy"} <= set(run.data.metrics)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {path.stem for path in (artifacts / "pictures").iterdir()} == PICTURES
    assert load(artifacts / "bundle").k == 2


class Failing(CSVLogger):
    """A logger whose service is gone at the end."""

    def publish(self, published: Published) -> None:
        raise ConnectionError("nobody listens")


@pytest.mark.slow
def test_a_run_whose_logger_fails_in_the_end_is_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_run(tmp_path, "logger._target_=tests.test_loggers.Failing", "trainer.max_epochs=1")
    assert (tmp_path / "metrics.json").is_file()
    assert "the logger did not take the pictures and the bundle: nobody listens" in caplog.text


@pytest.mark.slow
def test_no_logger_at_all(tmp_path: Path) -> None:
    small_run(tmp_path, "logger=null", "trainer.max_epochs=1")
    assert (tmp_path / "metrics.json").is_file()
    assert os.listdir(tmp_path / "logs") == []
