"""Data sets of PyTorch, vectors and embeddings as queries."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from parmtrain import load
from parmtrain.codes import Sum
from parmtrain.errors import ConfigError, DataError
from parmtrain.evaluate import evaluate
from parmtrain.metrics.embeddings import MEASURES, cosine, finds
from parmtrain.tasks.datasets import Datasets
from parmtrain.training.coded_groups import CodedGroups
from parmtrain.training.losses import cosine as cosine_loss
from tests.small_runs import small_run

SHAPE = (1, 8, 8)


class Unlabelled(Dataset[Tensor]):
    """Pictures without labels."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.queries = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, index: int) -> Tensor:
        return self.queries[index]


class Broken(Unlabelled):
    """A data set that cannot read one item."""

    def __getitem__(self, index: int) -> Tensor:
        if index == 3:
            raise OSError("disk on fire")
        return self.queries[index]


def datasets(train: Any, **more: Any) -> Datasets:
    return Datasets(train, stored=list(SHAPE), classes=3, **more)


def network(outputs: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, outputs)).eval()


def test_one_data_set_is_shared_out_and_three_are_the_splits() -> None:
    splits = datasets(Unlabelled(20)).read()
    assert [len(part) for part in splits] == [14, 2, 4]
    whole = torch.cat([part[torch.arange(len(part))][0] for part in splits])
    assert sorted(whole.flatten(1).sum(1).tolist()) == sorted(Unlabelled(20).queries.flatten(1).sum(1).tolist())
    given = datasets(Unlabelled(5), val=Unlabelled(6), test=Unlabelled(7)).read()
    assert [len(part) for part in given] == [5, 6, 7]


def test_pairs_have_labels() -> None:
    pairs = TensorDataset(Unlabelled(20).queries, torch.arange(20) % 3)
    source = datasets(pairs)
    assert source.labelled
    assert not datasets(Unlabelled(20)).labelled
    train = source.read().train
    assert [int(label) for label in train.labels] == [
        int(pairs[int((pairs.tensors[0] == query).flatten(1).all(1).nonzero()[0, 0])][1])
        for query in train[torch.arange(len(train))][0]
    ]


def test_what_is_no_data_set_of_queries_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task.source.train must be a data set with a length, got generator"):
        datasets(iter_queries())
    with pytest.raises(ConfigError, match=r"must be given both or neither, got one"):
        datasets(Unlabelled(5), val=Unlabelled(5))
    with pytest.raises(DataError, match=r"the train data set must return item 3, but raised: .*disk on fire"):
        datasets(Broken(5)).read()
    with pytest.raises(
        DataError, match=r"must return tensors or arrays of shape \[1, 8, 8\] .*, got shape \[4\] for i"
    ):
        datasets(TensorDataset(torch.rand(5, 4))).locate()
    with pytest.raises(DataError, match=r"labels must be from 0 to 2, got \[0, 7\]"):
        datasets(TensorDataset(Unlabelled(8).queries, torch.arange(8))).read()
    with pytest.raises(DataError, match=r"the train data set must hold queries, got none"):
        datasets(Unlabelled(0)).locate()


def iter_queries() -> Any:
    yield torch.zeros(SHAPE)


@pytest.mark.slow
def test_a_data_set_by_its_name_is_enough_for_a_run(tmp_path: Path) -> None:
    source = "task.source.train={_target_: tests.test_own_data.Unlabelled, count: 60}"
    task = ("task=module", source, "task.query_shape=[1,8,8]", "task.outputs=3", "groups=8", "code=lowres")
    metrics = small_run(tmp_path / "run", *task, deployed=network(3)).metrics
    assert metrics["measure"] == "agreement"
    assert evaluate(tmp_path / "run", deployed=network(3))["measure"] == "agreement"
    with pytest.raises(ConfigError, match=r"task.source.train must be set, got none"):
        small_run(tmp_path / "without", "task=module")


@pytest.mark.slow
def test_a_data_set_itself_is_enough_for_a_run(tmp_path: Path) -> None:
    task = ("task=module", "task.query_shape=[1,8,8]", "task.outputs=3", "groups=8", "code=lowres")
    pairs = TensorDataset(Unlabelled(60).queries, torch.arange(60) % 3)
    given = network(3)
    result = small_run(tmp_path / "run", *task, deployed=given, data=pairs)
    assert result.metrics["measure"] == "accuracy"
    with torch.no_grad():
        own = given(pairs.tensors[0]).argmax(1) == pairs.tensors[1]
    tested, _ = result.splits.test[torch.arange(len(result.splits.test))]
    right = [own[(pairs.tensors[0] == query).flatten(1).all(1)].item() for query in tested]
    assert result.metrics["available"]["accuracy"] == pytest.approx(np.mean(right))
    assert evaluate(tmp_path / "run", data=pairs)["degraded"] == result.metrics["degraded"]
    with pytest.raises(DataError, match=r"came from Python; give it again with evaluate"):
        evaluate(tmp_path / "run")
    apart = [Unlabelled(20, number) for number in range(3)]
    assert small_run(tmp_path / "three", *task, deployed=given, data=apart).metrics["measure"] == "agreement"
    with pytest.raises(ConfigError, match=r"data must be one data set, or three: train, val, test, got 2"):
        small_run(tmp_path / "two", *task, deployed=given, data=apart[:2])
    with pytest.raises(ConfigError, match=r"must return tensors or arrays of shape \[1, 8, 8\] .* got shape \[4\]"):
        small_run(tmp_path / "other", *task, deployed=given, data=TensorDataset(torch.rand(50, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("code", ["sum", "backup"])
def test_vectors_are_queries_with_labels_or_without(code: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 20), ("test", 20)):
        np.save(tmp_path / f"{split}_queries.npy", random.standard_normal((count, 24)))
        np.save(tmp_path / f"{split}_labels.npy", random.integers(0, 3, count))
    task = ("task=vectors", f"data.root={tmp_path}", "task.query_shape=[24]", "task.outputs=3", "groups=8")
    metrics = small_run(tmp_path / "run", *task, f"code={code}").metrics
    assert metrics["measure"] == "accuracy"
    assert (tmp_path / "run" / "examples.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["lowres", "sum"])
def test_embeddings_are_scored_by_cosine_and_recall(code: str, tmp_path: Path) -> None:
    for number, (split, count) in enumerate((("train", 60), ("val", 20), ("test", 20))):
        np.save(tmp_path / f"{split}_queries.npy", Unlabelled(count, number).queries.numpy())
    task = ("task=embedding", f"data.root={tmp_path}", "task.query_shape=[1,8,8]", "task.outputs=12", "groups=8")
    given = network(12)
    degraded = small_run(tmp_path / "run", *task, f"code={code}", deployed=given).metrics["degraded"]
    queries = torch.from_numpy(np.load(tmp_path / "test_queries.npy"))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).view(10, 2)
    with torch.no_grad():
        own = given(queries)
    bundle = load(tmp_path / "run")
    rebuilt = torch.stack([bundle.reconstruct(queries[order], lost)[:, lost] for lost in (0, 1)], dim=1)
    assert degraded["agreement"] == pytest.approx(cosine(rebuilt, own[order]).mean().item(), abs=1e-4)
    assert degraded["recall"] == pytest.approx(finds(rebuilt, own[order], own).mean().item(), abs=1e-4)


def test_the_recall_is_that_of_a_search_by_cosine() -> None:
    random = torch.Generator().manual_seed(0)
    gallery, noise = torch.randn(50, 8, generator=random), torch.randn(50, 8, generator=random)
    given = gallery + noise
    cosines = nn.functional.normalize(given, dim=1) @ nn.functional.normalize(gallery, dim=1).T
    found = finds(given, gallery, gallery)
    assert torch.equal(found, (cosines.argmax(1) == torch.arange(50)).float())
    assert 0 < found.mean() < 1
    assert torch.equal(MEASURES.among(gallery).more["recall"](given, gallery), found)
    assert finds(torch.full((1, 8), torch.nan), gallery[:1], gallery).item() == 0


def test_the_cosine_loss_is_zero_for_the_same_direction() -> None:
    predictions = torch.tensor([[[1.0, 2.0], [3.0, 0.5]]])
    parity = predictions.sum(1, keepdim=True)
    assert cosine_loss(CodedGroups(Sum(k=2), predictions, parity, torch.zeros(1, 2))) == pytest.approx(0, abs=1e-6)
