"""The deployed model in a bundle: written as a program, or as the ONNX model that it is, and recognised."""

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.answers import answering
from parmtrain.bundle.description import DEPLOYED
from parmtrain.bundle.formats import ExportFormat
from parmtrain.bundle.parts import compare, require_same_numbers, written
from parmtrain.deployed import DeployedModel, fingerprint, private_copy
from parmtrain.errors import ExportError
from parmtrain.onnx_programs import SUFFIX as ONNX
from parmtrain.onnx_programs import OnnxProgram, read_onnx
from parmtrain.probes import probes, require_answers
from parmtrain.programs import Around, Network
from parmtrain.query_type import AsType, QueryType, as_type

BRIGHT = 255.0  # times as strong as queries from 0 to 1


class _AsServed(nn.Module):
    """A deployed model with its preprocessing, from queries to predictions of their type."""

    def __init__(self, preprocess: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.preprocess, self.network = preprocess, network

    def forward(self, queries: Tensor) -> Tensor:
        predictions: Tensor = self.network(self.preprocess(queries))
        return predictions.to(queries.dtype)


def write_deployed(
    deployed: DeployedModel, query_shape: tuple[int, ...], queries: Tensor | None, folder: Path, format: ExportFormat
) -> Path:
    """Write the deployed model into a bundle, and return the file.

    An ONNX model is written as it is, any other module as a program of the bundle's format, which is compared with it.

    Args:
        deployed: The deployed model; it is not changed.
        query_shape: Shape of one query.
        queries: Real queries ``[b, *query]`` on which the program must answer as it does.
        folder: Folder of the bundle.
        format: Format of its parts.

    Raises:
        ExportError: If it is a function, or cannot be exported, or its program gives other numbers.
    """
    network = private_copy(deployed.network)
    if (program := _onnx(network)) is not None:
        if not all(isinstance(part, nn.Flatten | nn.Identity | AsType) for part in deployed.preprocess.children()):
            raise ExportError("it is an ONNX model behind features, which are no part of it")
        path = folder / f"{DEPLOYED}{ONNX}"
        path.write_bytes(program.content.cpu().numpy().tobytes())
        return path
    if not isinstance(network, nn.Module):
        raise ExportError("it is a function, not a module")
    path, part = folder / f"{DEPLOYED}{format.suffix}", _AsServed(copy.deepcopy(deployed.preprocess), network).cpu()
    asked = _asked(query_shape, queries)
    try:
        served = written(part, (asked,), path, format)
        compare(part, served, (asked,), format)
        require_same_numbers(part, served, (asked,), format)
    except ExportError:
        path.unlink(missing_ok=True)
        raise
    return path


def read_deployed(
    folder: Path, files: Collection[str], about: dict[str, Any], query_shape: tuple[int, ...], format: ExportFormat
) -> DeployedModel | None:
    """Return the deployed model that a bundle holds; None if it holds none.

    Args:
        folder: Folder of the bundle.
        files: Names of its files.
        about: What ``bundle.json`` states under ``deployed``.
        query_shape: Shape of one query.
        format: Format of its parts.

    Raises:
        DeployedModelError: If it is an ONNX model, and onnxruntime is not installed.
        Exception: If its file cannot be read.
    """
    if f"{DEPLOYED}{ONNX}" in files:
        network = read_onnx(folder / f"{DEPLOYED}{ONNX}")
        if format.suffix != ONNX or fingerprint(network) == about["fingerprint"]:  # it was one in training, too
            return recognised(network, about, query_shape, folder)
    own = f"{DEPLOYED}{format.suffix}"
    return DeployedModel(format.load(folder / own)) if own in files else None


def _onnx(network: Network) -> OnnxProgram | None:
    """Return the ONNX model that a network is, or from whose outputs it takes one."""
    while isinstance(network, Around):
        network = network.network
    return network if isinstance(network, OnnxProgram) else None


def _asked(query_shape: tuple[int, ...], queries: Tensor | None) -> Tensor:
    """Return different queries to compare a program of the deployed model with it: faint, bright and real ones."""
    random = probes(query_shape)
    real = [] if queries is None else [queries.cpu()]
    return torch.cat([random, BRIGHT * random[:1], -random[:1], *real])


def recognised(deployed: Network, about: dict[str, Any], query_shape: tuple[int, ...], bundle: Path) -> DeployedModel:
    """Return a deployed model as it was in training, on the CPU, if it is the one that a bundle was trained for.

    Args:
        deployed: The model; a module is copied.
        about: What ``bundle.json`` states under ``deployed``.
        query_shape: Shape of one query.
        bundle: Folder of the bundle, for error messages.

    Raises:
        DeployedModelError: If it has no weights, and answers otherwise than the deployed model did in training.
        ExportError: If its weights are others.
    """
    expected = about["fingerprint"]
    if isinstance(deployed, DeployedModel):
        model = deployed
    else:
        own = private_copy(deployed)
        taken = as_type(QueryType[about.get("takes", QueryType.float32.name)], about.get("scale", 1.0))
        prepared = nn.Sequential(*([nn.Flatten()] if about.get("flatten") else []), taken)
        if isinstance(own, nn.Module):
            own.cpu()
        if fingerprint(own) == expected:
            own = answering(own, about.get("output"), prepared(probes(query_shape)), "the deployed model")
        model = DeployedModel(own, preprocess=prepared)
    if model.fingerprint != expected:
        raise ExportError(
            f"the deployed model must be the one that the bundle in {bundle} was trained for, {expected[:16]}…, got "
            f"{model.fingerprint[:16]}…"
        )
    if (wanted := about.get("answers")) is not None:
        require_answers(model, query_shape, wanted, "the deployed model")
    return model.cpu()
