"""Every mistake in a call from Python is a ``ParmtrainError`` with one sentence, and nothing of the user's changes."""

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import batch_norm

import parmtrain
from parmtrain import Bundle, DeployedModel, ParityModule, ParmtrainError, compose, load, run, score
from parmtrain.codes import Berrut, LearnedMLP, Linear, NeRCC, Sum
from parmtrain.compare import compare
from parmtrain.config import assemble
from parmtrain.evaluate import evaluate
from parmtrain.models import MLP
from parmtrain.result import Result
from tests.formats import save_torchscript
from tests.small_runs import small_run

NETWORK = MLP([1, 8, 8], 10)
CODE = Sum(k=2)
GROUPS, ALL = torch.rand(3, 2, 1, 8, 8), torch.ones(3, 3, dtype=torch.bool)
OUTPUTS = torch.rand(3, 3, 10)


def module(deployed: Any = None, code: Any = CODE, models: int = 1) -> ParityModule:
    return ParityModule(deployed or DeployedModel(NETWORK), code, [nn.Linear(64, 10) for _ in range(models)])


def score_of(**changes: Any) -> Any:
    task = assemble.build(compose().task)
    queries = task.splits().test
    given = {
        "queries": queries,
        "predictions": torch.zeros(len(queries), 10),
        "seed": 0,
        "unavailable": [0.1],
        "default": {"accuracy": 0.1, "top5": 0.5},
    }
    return score(module(), task, **{**given, **changes})


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "compose a number": (lambda: compose(5), "an override must be text"),  # type: ignore[arg-type]
    "compose an unknown key": (lambda: compose("kk=3"), "kk=3: unknown key kk"),
    "compose an unknown option": (lambda: compose("optim=sun"), "unknown optim 'sun'"),
    "compose a word": (lambda: compose("k"), "k: must be key=value"),
    "compose a number as a group": (lambda: compose("optim=3"), "unknown optim '3'"),
    "compose an empty group's key": (lambda: compose("+averaging.decay=1"), "averaging is not set"),
    "compose from no folder": (lambda: compose(config_dir="nowhere"), "--config-dir nowhere: folder not found"),
    "compose a path": (lambda: compose("ckpt_path=a=b"), "write it as"),
    "run a dict": (lambda: run({}, "x"), "cfg must be a configuration from parmtrain.compose, got dict"),  # type: ignore[arg-type]
    "run an empty configuration": (lambda: run(OmegaConf.create({}), "x"), "faults in this configuration"),
    "run in no folder": (lambda: run(compose(), ""), "folder must be the path of a folder, got ''"),
    "run in a number": (lambda: run(compose(), 5), "folder must be the path of a folder, got 5"),  # type: ignore[arg-type]
    "run in a file": (lambda: run(compose(), "/dev/null"), "folder=/dev/null cannot be written: /dev/null is a file"),
    "run a number": (lambda: run(compose(), "x", deployed=5), "must be a module or a function, got int"),  # type: ignore[arg-type]
    "run another model": (
        lambda: run(compose(), "x", deployed=MLP([1, 8, 8], 7)),
        "returns shape [2, 7] for 2 queries",
    ),
    "run a random model": (
        lambda: run(compose(), "x", deployed=lambda queries: torch.rand(len(queries), 10)),
        "the deployed model must answer the same query alike",
    ),
    "run a model that changes its input": (
        lambda: run(compose(), "x", deployed=lambda queries: NETWORK(queries.mul_(0.5))),
        "the deployed model must not change its input",
    ),
    "run a model that looks at other queries": (
        lambda: run(compose(), "x", deployed=lambda queries: NETWORK(queries - queries.mean(0))),
        "must answer each query by itself",
    ),
    "run a model that looks at its batch": (
        lambda: run(compose(), "x", deployed=lambda queries: NETWORK(queries) * queries.std()),
        "must answer each query by itself",
    ),
    "run a model that normalizes a batch": (
        lambda: run(compose(), "x", deployed=lambda queries: NETWORK(batch_norm(queries, None, None, training=True))),
        "must answer each query by itself",
    ),
    "run a model that changes": (
        lambda: run(compose(), "x", deployed=Counting()),
        "the deployed model must not change its own weights or buffers when it answers",
    ),
    "run two models": (
        lambda: run(compose("deployed.path=f.pt"), "x", deployed=NETWORK),
        "deployed.path must be null where the deployed model itself is given",
    ),
    "run a model that counts": (
        lambda: run(compose(), "x", deployed=lambda queries: NETWORK(queries) + torch.arange(len(queries))[:, None]),
        "must answer each query by itself",
    ),
    "run in a folder with an impossible name": (lambda: run(compose(), "a\0b"), "must be the path of a folder"),
    "run in a folder with a long name": (lambda: run(compose(), "a" * 300), "names of 255 bytes or fewer"),
    "run a model that cannot be copied": (lambda: run(compose(), "x", deployed=Locked()), "that can be copied"),
    "load nothing": (lambda: load("nowhere"), "nowhere must hold a bundle"),
    "load a number": (lambda: load(5), "folder must be the path of a folder, got 5"),  # type: ignore[arg-type]
    "load an empty name": (lambda: load(""), "folder must be the path of a folder, got ''"),
    "evaluate nothing": (lambda: evaluate("nowhere"), "nowhere must be the folder of a run"),
    "evaluate a number": (lambda: evaluate(5), "folder must be the path of a folder, got 5"),  # type: ignore[arg-type]
    "compare nothing": (lambda: compare(["code=sun"], "study"), "unknown code 'sun'"),
    "compare in no folder": (lambda: compare([], ""), "--folder must be the path of a folder"),
    "compare a text": (lambda: compare("k=2", "study"), "overrides must be a list of texts"),
    "compare for a number": (lambda: compare([], "study", deployed=5), "must be a module or a function, got int"),  # type: ignore[arg-type]
    "compare on no data": (lambda: compare([], "study", data=[1, 2]), "data must be one data set, or three"),
    "compare numbers": (lambda: compare([2], "study"), "overrides must be a list of texts"),  # type: ignore[list-item]
    "train a number": (lambda: ParityModule(DeployedModel(NETWORK), CODE, [5]), "must be modules, got int"),  # type: ignore[list-item]
    "encode bytes": (lambda: CODE.encode(torch.ones(3, 2, 4, dtype=torch.uint8)), "must be floating-point tensors"),
    "encode a list": (lambda: CODE.encode([1]), "must be floating-point tensors"),  # type: ignore[arg-type]
    "predict a list": (lambda: DeployedModel(NETWORK)([1]), "queries must be a tensor, got list"),
    "score other predictions": (lambda: score_of(predictions=torch.zeros(3, 10)), "must have shape [450, 10]"),
    "score other outputs": (lambda: score_of(predictions=torch.zeros(450, 7)), "must have shape [450, 10]"),
    "score an impossible share": (lambda: score_of(unavailable=[2]), "fractions from 0 to 1, got 2"),
    "score with no seed": (lambda: score_of(seed=None), "seed must be an integer of 0 or more, got None"),
    "score without a default": (lambda: score_of(default={"top5": 0.1}), "a score for accuracy, got top5"),
    "wrap a number": (lambda: DeployedModel(5), "the deployed model must be a module or a function, got int"),  # type: ignore[arg-type]
    "train for a bare network": (lambda: module(NETWORK), "deployed must be a parmtrain.DeployedModel, got MLP"),
    "train no code": (lambda: module(code="sum"), "code must be a parmtrain.Code, got str"),
    "train no model": (lambda: module(models=0), "parity_models must be 1 model or 1, one per coded query, got 0"),
    "train too many models": (lambda: module(code=Linear(2, 3), models=2), "1 model or 3, one per coded query, got 2"),
    "one query in a group": (lambda: Sum(k=1), "k must be from 2 to 1000 queries in a coding group, got 1"),
    "a billion queries": (lambda: Sum(k=10**9), "k must be from 2 to 1000 queries in a coding group, got 1000000000"),
    "half a query more": (lambda: Sum(k=2.5), "k must be from 2 to 1000 queries in a coding group, got 2.5"),  # type: ignore[arg-type]
    "words for k": (lambda: Berrut(k="2"), "k must be from 2 to 1000 queries in a coding group, got 2"),  # type: ignore[arg-type]
    "no extra workers": (lambda: Linear(2, 0), "r must be 1 or more extra workers per coding group, got 0"),
    "half a worker": (lambda: Linear(2, 1.5), "r must be 1 or more extra workers per coding group, got 1.5"),  # type: ignore[arg-type]
    "negative smoothness": (lambda: NeRCC(2, smoothness=[-1.0]), "code.smoothness must be 0 or more, got -1.0"),
    "a huge encoder": (lambda: LearnedMLP(2, (3, 224, 224), 10), "fewer than 1 billion weights"),
    "encode three of two": (lambda: CODE.encode(torch.rand(3, 3, 4)), "queries must have shape [g, 2, *query], got"),
    "encode one query": (lambda: CODE.encode(torch.rand(4)), "queries must have shape [g, 2, *query], got [4]"),
    "decode two of three": (lambda: CODE.decode(OUTPUTS[:, :2], ALL[:, :2]), "outputs must have shape [g, 3, c]"),
    "decode with a mask of integers": (
        lambda: CODE.decode(OUTPUTS, ALL.long()),
        "arrived must be bool of shape [3, 3]",
    ),
    "decode with another mask": (lambda: CODE.decode(OUTPUTS, ALL[:1]), "arrived must be bool of shape [3"),
}
ON_A_BUNDLE: dict[str, tuple[Callable[[Bundle], Any], str]] = {
    "encode bytes": (
        lambda bundle: bundle.encode(torch.full((3, 2, 1, 8, 8), 200, dtype=torch.uint8)),
        "queries must be of type float32, got uint8; bundle.json states under preprocessing how queries are prepared",
    ),
    "gather other groups": (
        lambda bundle: bundle.gather(torch.rand(2, 2, 10), torch.rand(3, 1, 10)),
        "predictions and coded outputs must be of one number of groups, got 2 and 3",
    ),
    "encode not a number": (lambda bundle: bundle.encode(GROUPS / 0), "queries must be finite, got NaN or infinity"),
    "encode doubles": (lambda bundle: bundle.encode(GROUPS.double()), "must be of type float32, got float64"),
    "encode larger images": (
        lambda bundle: bundle.encode(torch.rand(3, 2, 1, 9, 9)),
        "queries must have shape [g, 2, 1, 8, 8], got [3, 2, 1, 9, 9]",
    ),
    "encode three of two": (lambda bundle: bundle.encode(torch.rand(3, 3, 1, 8, 8)), "[g, 2, 1, 8, 8], got"),
    "encode without groups": (lambda bundle: bundle.encode(torch.rand(2, 1, 8, 8)), "[g, 2, 1, 8, 8], got"),
    "encode a list": (lambda bundle: bundle.encode([[1.0]]), "queries must be a tensor, got list"),  # type: ignore[arg-type]
    "encode sparse queries": (lambda bundle: bundle.encode(GROUPS.to_sparse()), "must be dense, got sparse_coo"),
    "encode elsewhere": (lambda bundle: bundle.encode(GROUPS.to("meta")), "must be on the CPU, got meta"),
    "predict queries": (lambda bundle: bundle.predict(GROUPS), "coded queries must have shape [g, 1, 1, 8, 8]"),
    "gather seven classes": (
        lambda bundle: bundle.gather(torch.rand(3, 2, 7), OUTPUTS[:, :1]),
        "predictions must have shape [g, 2, 10], got [3, 2, 7]",
    ),
    "gather doubles": (lambda bundle: bundle.gather(OUTPUTS[:, :2].double(), OUTPUTS[:, :1]), "got float64"),
    "gather three coded outputs": (lambda bundle: bundle.gather(OUTPUTS[:, :2], OUTPUTS), "must have shape [g, 1, 10]"),
    "decode seven classes": (lambda bundle: bundle.decode(OUTPUTS[..., :7], ALL), "outputs must have shape [g, 3, 10]"),
    "decode two of three": (lambda bundle: bundle.decode(OUTPUTS[:, :2], ALL), "outputs must have shape [g, 3, 10]"),
    "decode integers": (lambda bundle: bundle.decode(OUTPUTS.long(), ALL), "must be of type float32, got int64"),
    "decode with a mask of integers": (
        lambda bundle: bundle.decode(OUTPUTS, ALL.long()),
        "arrived must be of type bool, got int64",
    ),
    "decode with another mask": (lambda bundle: bundle.decode(OUTPUTS, ALL[:2]), "arrived must have shape [3, 3]"),
    "reconstruct the fourth": (lambda bundle: bundle.reconstruct(GROUPS, lost=3), "a worker from 0 to 2, got 3"),
    "reconstruct a fraction": (lambda bundle: bundle.reconstruct(GROUPS, lost=0.5), "a worker from 0 to 2"),  # type: ignore[arg-type]
    "reconstruct bytes": (lambda bundle: bundle.reconstruct(GROUPS.byte()), "must be of type float32, got uint8"),
    "take another model": (lambda bundle: bundle.take_deployed(NETWORK), "must be the one that the bundle in"),
    "take a number": (lambda bundle: bundle.take_deployed(5), "must be a module or a function, got int"),  # type: ignore[arg-type]
}


class Counting(MLP):
    """A network that counts its calls in a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__([1, 8, 8], 10)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, queries: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(queries)


class Locked(nn.Module):
    """A network that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, queries: Tensor) -> Tensor:
        return queries


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_said(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong, sentence = CALLS[call]
    with pytest.raises(ParmtrainError) as fault:
        wrong()
    assert sentence in str(fault.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ON_A_BUNDLE)
def test_a_wrong_call_of_a_bundle_is_said(call: str, finished: Result) -> None:
    wrong, sentence = ON_A_BUNDLE[call]
    with pytest.raises(ParmtrainError) as fault:
        wrong(load(finished.folder, deployed=finished.module.deployed))
    assert sentence in str(fault.value)


def test_the_folder_of_a_run_is_named_as_the_call_names_it(finished: Result) -> None:
    with pytest.raises(ParmtrainError, match=f"^folder={finished.folder} holds a finished run"):
        small_run(finished.folder)


def test_a_picture_has_groups(finished: Result) -> None:
    with pytest.raises(ParmtrainError, match="groups must be an integer of 1 or more, got 0"):
        finished.picture(0)


@pytest.mark.slow
def test_a_network_stays_as_it_was_also_after_an_error(tmp_path: Path) -> None:
    network = nn.Sequential(MLP([1, 8, 8], 10), nn.Dropout())
    network[0].requires_grad_(False)
    network[0].nn[0].weight.requires_grad_(True)  # type: ignore[index, union-attr]
    network.train()
    network[1].eval()
    before = copy.deepcopy(network)
    small_run(tmp_path / "run", "trainer.max_epochs=1", deployed=network)
    with pytest.raises(ParmtrainError, match="the loss became nan"):
        small_run(tmp_path / "stopped", "trainer.max_epochs=1", "optim.lr=1e30", deployed=network)
    assert [part.training for part in network.modules()] == [part.training for part in before.modules()]
    for (name, ours), (_, theirs) in zip(network.named_parameters(), before.named_parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad, name
        assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_a_function_is_known_by_its_answers(tmp_path: Path) -> None:
    network, other = copy.deepcopy(NETWORK), MLP([1, 8, 8], 10)
    small_run(tmp_path, "trainer.max_epochs=1", deployed=network.forward)
    load(tmp_path, deployed=network.forward)
    with pytest.raises(ParmtrainError, match="must give the answers to fixed queries that were given in training"):
        load(tmp_path, deployed=other.forward)
    with pytest.raises(ParmtrainError, match="must be the one that the bundle"):
        load(tmp_path, deployed=other)


def test_a_network_that_a_bundle_takes_stays_as_it_was(finished: Result) -> None:
    network = finished.module.deployed.network
    assert isinstance(network, nn.Module)
    mine = copy.deepcopy(network).train().requires_grad_()
    load(finished.folder, deployed=mine)
    assert mine.training
    assert all(parameter.requires_grad for parameter in mine.parameters())


@pytest.mark.slow
def test_a_torchscript_module_is_taken_from_python(tmp_path: Path) -> None:
    path = tmp_path / "f.ts"
    save_torchscript(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), path)
    program = torch.jit.load(path)
    small_run(tmp_path / "run", "trainer.max_epochs=1", deployed=program)
    assert program.training


def test_all_public_names_are_there() -> None:
    assert all(hasattr(parmtrain, name) for name in parmtrain.__all__)
