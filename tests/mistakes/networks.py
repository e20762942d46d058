"""Files of deployed models that a user has in a folder before a mistake, whole or damaged."""

import warnings
from pathlib import Path

import torch
from torch import nn

from parmtrain.models import LeNet
from tests import formats


def _network() -> LeNet:
    torch.manual_seed(0)
    return LeNet([1, 8, 8], 10, width=4)


def state_dict(folder: Path) -> None:
    torch.manual_seed(0)
    formats.save_state_dict(LeNet([1, 8, 8], 10), folder / "f.pt")


def pickled_module(folder: Path) -> None:
    torch.save(_network(), folder / "f.pt")


def nan_weights(folder: Path) -> None:
    network = LeNet([1, 8, 8], 10)
    nn.init.constant_(network.classifier[0].bias, float("nan"))  # type: ignore[arg-type]
    formats.save_state_dict(network, folder / "f.pt")


def list_of_tensors(folder: Path) -> None:
    torch.save([torch.zeros(3)], folder / "f.pt")


def _trace(network: nn.Module, path: Path, example: torch.Tensor | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, torch.zeros(2, 1, 8, 8) if example is None else example, check_trace=False).save(path)


def torchscript(folder: Path) -> None:
    _trace(_network().eval(), folder / "f.ts")


def flat_torchscript(folder: Path) -> None:
    formats.save_torchscript(nn.Sequential(nn.Flatten(), nn.Linear(81, 10)), folder / "f.ts")


def torchscript_of_seven(folder: Path) -> None:
    _trace(LeNet([1, 8, 8], 7).eval(), folder / "f.ts")


def torchscript_with_dropout(folder: Path) -> None:
    _trace(nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.Dropout(), nn.Linear(50, 10)).train(), folder / "f.ts")


def torchscript_of_doubles(folder: Path) -> None:
    _trace(_network().double().eval(), folder / "f.ts", torch.zeros(2, 1, 8, 8, dtype=torch.float64))


class _Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class _NaN(_Odd):
    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        predictions: torch.Tensor = self.network(queries)
        return predictions / 0.0 * 0.0


class _ForOne(_Odd):
    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        predictions: torch.Tensor = self.network(queries.view(1, 1, 8, 8))
        return predictions


class _Tuple(_Odd):
    def forward(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        predictions: torch.Tensor = self.network(queries)
        return predictions, predictions


class _Integers(_Odd):
    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        predictions: torch.Tensor = self.network(queries)
        return predictions.long()


def torchscript_of_nan(folder: Path) -> None:
    formats.save_torchscript(_NaN(), folder / "f.ts")


def torchscript_for_one(folder: Path) -> None:
    formats.save_torchscript(_ForOne(), folder / "f.ts")


def torchscript_tuple(folder: Path) -> None:
    formats.save_torchscript(_Tuple(), folder / "f.ts")


def torchscript_of_integers(folder: Path) -> None:
    formats.save_torchscript(_Integers(), folder / "f.ts")


def exported(folder: Path) -> None:
    formats.save_exported(_network().eval(), folder / "f.pt2")


def exported_for_one(folder: Path) -> None:
    torch.export.save(torch.export.export(_network().eval(), (torch.zeros(1, 1, 8, 8),)), folder / "f.pt2")
