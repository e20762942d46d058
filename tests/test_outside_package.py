"""A user's own package adds one of everything, a Python file and a YAML each, and every command knows what to do."""

import asyncio
import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from parmtrain import __main__, advise, compose, evaluate
from parmtrain.compare import __main__ as compare
from parmtrain.compare import planned_runs
from parmtrain.config.check import check
from parmtrain.programs import Network, pack
from parmtrain.run_folder import RunFolder
from parmtrain.serving import Frontend, Kind
from parmtrain.serving.front.served import read_served
from parmtrain.serving.on_ray.worker import Worker
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.predictions import Prediction
from parmtrain.serving.settings import ServeSettings

HERE = Path(__file__).parent / "outside"
EVERYTHING = (
    "task=patterns",
    "code=alternating",
    "loss=angle",
    "metrics=[same_orthant]",
    "optim=sign_descent",
    "scheduler=constant",
    "callbacks=[diary,early_stopping]",
    "export=pickled",
    "confidence=lengths",
    "logger=noted",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the package, outside the repository: where a user would call parmtrain."""
    package = Path(shutil.copytree(HERE, tmp_path / "mine"))
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.chdir(package)
    return package


class Instance:
    """Runs a model as an actor's worker does, after some time."""

    def __init__(self, model: Network, seconds: float) -> None:
        self.worker, self.seconds = Worker(pack(model)), seconds

    async def run(self, queries: Tensor) -> Tensor:
        await asyncio.sleep(self.seconds)
        return torch.from_numpy(self.worker.run(queries.numpy()))

    async def restart(self) -> None:
        raise AssertionError("no instance dies here")


@pytest.mark.thorough
def test_a_package_of_ones_own_adds_one_of_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--config-dir", "conf", *EVERYTHING, "hydra.run.dir=run"]) == 0
    assert "patterns  code=alternating  k=2  r=1" in capsys.readouterr().out
    metrics = RunFolder(folder / "run").read_metrics()
    assert metrics["measure"] == "cosine"
    assert metrics["available"]["cosine"] > 0.9
    assert {"cosine", "same_orthant", "same_orthant_by_position"} <= metrics["degraded"].keys()
    assert metrics["scheme"]["recoverable_from"][0] == [{"need": 1, "of": [0]}, {"need": 2, "of": [1, 2]}]
    assert metrics["confidence"]["1"]["agreement"]["brier"] < 0.5
    assert (folder / "diary.txt").read_text() == "0\n1\n2\n"
    noted = json.loads((folder / "run" / "logs" / "noted.json").read_text())
    assert noted == {
        "name": "patterns-alternating-k2",
        "pictures": ["confidence", "examples", "overall_accuracy", "training"],
    }
    assert {path.suffix for path in (folder / "run" / "export").iterdir()} == {".json", ".md", ".pickle"}
    assert "outside_format.Pickled" in json.loads((folder / "run" / "export" / "bundle.json").read_text()).values()

    assert evaluate.main(["run"]) == 0
    assert f"{metrics['degraded']['cosine']:.4f}" in capsys.readouterr().out

    every = planned_runs(["task=patterns", "code=all"], folder, config_dir="conf")
    assert {"code=alternating", "code=sum", "code=learned_mlp"} <= {one.title for one in every}
    overrides = ("task=patterns", "code=alternating,concat_heads,berrut_b,mean_parity", "k=2", "trainer.max_epochs=1")
    assert compare.main(["--config-dir", "conf", "--folder", "compared", *overrides]) == 0
    assert advise.main(["results=compared/table.csv", "queries=1500", "slow=0.02", "folder=advised"]) == 0
    for table, column in (("compared", "code"), ("advised", "strategy")):
        with (folder / table / "table.csv").open(newline="") as file:
            named = {line[column].split()[0] for line in csv.DictReader(file)}
        assert {"alternating", "concat_heads", "berrut_b", "mean_parity"} <= named


@pytest.mark.thorough
def test_what_a_package_of_ones_own_exported_is_served(folder: Path) -> None:
    assert __main__.main(["--config-dir", "conf", *EVERYTHING, "hydra.run.dir=run", "trainer.max_epochs=1"]) == 0
    served = read_served(ServeSettings(bundle="run", k=2))
    deployed, parity = served.models
    instances = [Instance(deployed, 0.0), Instance(deployed, 2.0), Instance(parity, 0.0)]

    async def ask() -> list[Prediction]:
        frontend = Frontend(served.scheme, [2, 1])
        service = Service(frontend, served.bundle, instances, served.outputs, served.width)
        return await asyncio.gather(*(service.predict(query) for query in torch.randn(2, 1, 6, 6)))

    assert [answer.kind for answer in asyncio.run(ask())] == [Kind.deployed, Kind.reconstructed]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ("task=patterns", "loss=giou"),
            "loss=giou compares boxes, and this task predicts embeddings; use loss=kl for class scores, "
            "loss=decoded_mse for others",
        ),
        (
            ("task=patterns", "loss=kl"),
            "loss=kl compares class scores, and this task predicts embeddings; use loss=mse or loss=decoded_mse",
        ),
        (
            ("loss=angle",),
            "loss=angle compares embeddings, and this task predicts class scores; use loss=kl for class scores",
        ),
    ],
)
def test_a_loss_of_another_kind_of_prediction_is_refused(
    overrides: tuple[str, ...], sentence: str, folder: Path
) -> None:
    faults = check(compose(*overrides, config_dir="conf"), RunFolder(folder / "run"))
    assert [fault.sentence for fault in faults] == [sentence]
