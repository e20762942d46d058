"""State dicts as others write them: where they are in a file, what their names begin with, and what is beside them."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError
from parmtrain.models import MLP
from parmtrain.programs import read_network
from parmtrain.state_dicts import PLACES, load_weights, read_state_dict


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    loss = {"loss.weight": torch.ones(3), "loss.bias": torch.ones(3)}
    settings = argparse.Namespace(lr=0.1, schedule="cosine")
    return {"epoch": 3, "hyper_parameters": settings, "state_dict": {**loss, **prefixed("model.", state)}}


def averaged(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"n_averaged": torch.tensor(7), **prefixed("module.", state)}


def of_type(dtype: torch.dtype) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()
    }


WRITTEN: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    **{place: lambda state, place=place: {place: state, "epoch": 3} for place in PLACES},  # type: ignore[misc]
    "two layers": lambda state: {"ema": {"module": state}, "args": argparse.Namespace(lr=0.1)},
    "two prefixes": lambda state: prefixed("module._orig_mod.net.", state),
    "Lightning": lightning,
    "averaged": averaged,
    "half": of_type(torch.float16),
    "bfloat": of_type(torch.bfloat16),
    "double": of_type(torch.float64),
    "without counters": lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    "an empty place": lambda state: {"state_dict": {}, "model": state},
    "settings under another place": lambda state: {"model": {"width": 3}, "weights": state},
    "plain values beside it": lambda state: {"model": state, "best": np.float64(0.5), "args": {"out": Path("runs")}},
    "some extra state": lambda state: {**state, "_extra_state": None},
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_state_dicts_are_found_and_fitted(write: Callable[[dict[str, Tensor]], Any], tmp_path: Path) -> None:
    theirs, ours = build(), build()
    torch.save(write(theirs.state_dict()), tmp_path / "f.pt")
    load_weights(ours, read_state_dict(tmp_path / "f.pt"), "f.pt")
    for name, value in ours.state_dict().items():
        assert torch.allclose(value, theirs.state_dict()[name], atol=0.01), name
        assert value.dtype == theirs.state_dict()[name].dtype


def test_safetensors_are_read(tmp_path: Path) -> None:
    theirs = build()
    save_file(theirs.state_dict(), tmp_path / "f.safetensors")
    ours = read_network(tmp_path / "f.safetensors", build)
    assert torch.equal(ours.state_dict()["0.weight"], theirs.state_dict()["0.weight"])
    (tmp_path / "f.safetensors").write_bytes((tmp_path / "f.safetensors").read_bytes()[:-8])
    with pytest.raises(DeployedModelError, match=r"f\.safetensors: must be a state dict of tensors"):
        read_network(tmp_path / "f.safetensors", build)


def test_safetensors_have_to_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(build().state_dict(), tmp_path / "f.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(DeployedModelError, match=r"is a file of safetensors: pip install 'parmtrain\[safetensors\]'"):
        read_network(tmp_path / "f.safetensors", build)


def test_the_first_of_several_networks_is_taken_and_said(caplog: pytest.LogCaptureFixture) -> None:
    first, second, ours = build(), build(), build()
    both = {**prefixed("ema_model.", second.state_dict()), **prefixed("model.", first.state_dict())}
    with caplog.at_level(logging.WARNING):
        load_weights(ours, both, "f.pt")
    assert torch.equal(ours.state_dict()["0.weight"], first.state_dict()["0.weight"])
    assert "f.pt holds several networks, under model., ema_model.; taking the first" in caplog.text


def test_what_fits_is_taken_before_what_is_only_named_so() -> None:
    fitting, ours = build(), build()
    wider = nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Linear(4, 7))
    both = {**prefixed("teacher.", wider.state_dict()), **prefixed("student.", fitting.state_dict())}
    load_weights(ours, both, "f.pt")
    assert torch.equal(ours.state_dict()["0.weight"], fitting.state_dict()["0.weight"])


def test_what_is_left_out_is_named(caplog: pytest.LogCaptureFixture) -> None:
    beside = {"mean": torch.ones(1), "std": torch.ones(1), **prefixed("model.", build().state_dict())}
    with caplog.at_level(logging.WARNING):
        load_weights(build(), beside, "f.pt")
    assert "f.pt: mean, std are left out, which Sequential has no weights for" in caplog.text


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in build().state_dict().items()}
    with pytest.raises(DeployedModelError, match=rf"must be real floating-point numbers, got {str(dtype)[6:]}"):
        load_weights(build(), state, "f.pt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"epoch": 3, "lr": 0.1}, "no tensors under epoch, lr"),
        ({"state_dict": {}}, "no tensors under state_dict"),
        ([torch.ones(3)], "got a list"),
    ],
)
def test_what_holds_no_state_dict_is_named(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "f.pt")
    with pytest.raises(TypeError, match=sentence):
        read_state_dict(tmp_path / "f.pt")


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(DeployedModelError, match=r"f\.pt: the weights must fit MLP: .* and \d+ more"):
        load_weights(MLP([1, 8, 8], 10), build().state_dict(), "f.pt")
    larger = {**build().state_dict(), "3.weight": torch.ones(3)}
    with pytest.raises(DeployedModelError, match=r"3\.weight is unexpected"):
        load_weights(build(), larger, "f.pt")
