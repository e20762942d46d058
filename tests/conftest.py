"""Fixtures that the tests share: a cache of their own, small data sets in their own formats and a finished run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from parmtrain import compose
from parmtrain.config import assemble
from parmtrain.files import write_json
from parmtrain.result import Result
from parmtrain.tasks.spoken_words import RECIPE, SpokenWords
from tests import formats
from tests.small_runs import small_run

if TYPE_CHECKING:
    from tests.fleets import Gate

os.environ.setdefault("WANDB_SILENT", "true")


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count thorough tests among the slow ones."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep deployed models and predictions in a cache that the tests share, apart from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["PARMTRAIN_CACHE"] = str(folder)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("COLUMNS", None)  # which pytest's workers have, and tables would keep to
    yield folder
    del os.environ["PARMTRAIN_CACHE"]


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with data sets in their own formats, a few images or clips each."""
    root = tmp_path_factory.mktemp("data")
    for variant in ("MNIST", "FashionMNIST"):
        formats.write_idx_family(root / variant / "raw", train=80, test=20)
    formats.write_cifar10(root, images=20)
    formats.write_cifar100(root, train=80, test=20)
    formats.write_arrays(root, 20)
    formats.write_folders(root / "cats_vs_dogs", ("cat", "dog"), images=4)
    formats.write_cub200(root / "CUB_200_2011", images=36)
    for task, version in (("speech_commands", "0.01"), ("speech_commands_v2", "0.02")):
        folder = root / "SpeechCommands" / f"speech_commands_v{version}"
        formats.write_words(folder, list(compose(f"task={task}").task.classes), train=3, held=1)
        (folder / "_background_noise_").mkdir()
    spoken: SpokenWords = assemble.build(compose("task=spoken_words", f"data.root={root}").task.source)
    formats.write_words(spoken.folder, spoken.classes, train=12, held=4)
    write_json(spoken.folder / RECIPE, spoken.stated)
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return a finished run of the default configuration, which no test may change."""
    return small_run(tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture
def gates(finished: Result) -> "list[Gate]":
    """Return two instances of the finished run's deployed model and one of its parity model."""
    from tests.fleets import gates_of

    return gates_of(finished)


@pytest.fixture
def queries(finished: Result) -> torch.Tensor:
    """Return queries of the finished run's test split ``[24, *query]``."""
    from tests.fleets import queries_of

    return queries_of(finished, 24)
