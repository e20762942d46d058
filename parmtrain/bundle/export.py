"""Export a code and its parity models as programs that a service loads, with a description."""

import copy
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.bundle.description import DECODER, DEPLOYED, DESCRIPTION, ENCODER, FORMAT, parity_model
from parmtrain.bundle.formats import ExportFormat, Program, name_of
from parmtrain.bundle.torchscript import TorchScript
from parmtrain.codes import Code, scheme_of
from parmtrain.deployed import DeployedModel, fingerprint, private_copy
from parmtrain.errors import ExportError, reason_of
from parmtrain.files import replacing, require_space, write_json
from parmtrain.probes import probes

log = logging.getLogger(__name__)
TOLERANCE = 1e-5
BATCHES = (1, 2, 5)
BRIGHT = 255.0  # times as strong as queries from 0 to 1
SHAPES = {
    "encoder": "queries [g, k, *query] -> coded queries [g, coded, *parity_query]",
    "parity_model": "[b, *parity_query] -> [b, *worker_output]",
    "deployed": "queries [b, *query] -> predictions [b, *prediction]",
    "decoder": "worker outputs [g, n, *worker_output], arrived [g, n] (bool) -> [g, k, *prediction]; predictions that "
    "are shorter than a worker output are padded with zeros",
}
DTYPES = {"query": "float32", "prediction": "float32", "arrived": "bool"}


def export(
    code: Code,
    parity_models: Sequence[nn.Module],
    query_shape: tuple[int, ...],
    outputs: int,
    about: dict[str, Any],
    folder: Path,
    format: ExportFormat | None = None,
    deployed: DeployedModel | None = None,
    queries: Tensor | None = None,
) -> None:
    """Write a bundle, whole or not at all, and compare its programs with the original modules.

    If the deployed model itself runs the coded queries, the bundle has no parity model. The exception is replication in
    batches, whose parity model is the deployed model for several queries. A deployed model that cannot be exported,
    such as a function, is left out with a warning: whoever loads the bundle has to bring it.

    Args:
        code: The code; it is not changed.
        parity_models: Its models; they are not changed.
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        about: Further entries of the description, in addition to shapes, types, files and fingerprints.
        folder: Folder to write; an existing one is replaced.
        format: Export format of the parts; TorchScript by default.
        deployed: The deployed model, for a bundle that stands alone; it is not changed.
        queries: Real queries ``[b, *query]`` on which its program must answer as it does.

    Raises:
        ExportError: If a part cannot be exported, or its program does not give the module's numbers to 1e-5.
    """
    format = format or TorchScript()
    with torch.no_grad():  # copies of TorchScript modules would have a history otherwise
        code = copy.deepcopy(code).cpu().eval()
        models = [copy.deepcopy(one).cpu().eval() for one in parity_models if not isinstance(one, DeployedModel)]
    parts = _parts(code, models, query_shape, outputs)
    with replacing(folder) as temporary:
        temporary.mkdir()
        files = {}
        for name, (part, example) in parts.items():
            path = temporary / f"{name}{format.suffix}"
            _compare(part, _written(part, example, path, format), example, name_of(format))
            files[path.name] = _digest(path)
        if deployed is not None:
            path = temporary / f"{DEPLOYED}{format.suffix}"
            try:
                _write_deployed(deployed, _asked(query_shape, queries), path, format)
            except ExportError as fault:
                log.warning("the bundle does not hold the deployed model, so loading it takes deployed=…: %s", fault)
            else:
                files[path.name] = _digest(path)
        description = {
            "format": FORMAT,
            **about,
            "export_format": name_of(format),
            "k": code.k,
            "r": code.r,
            "n": code.n,
            "code": code.name,
            "systematic": code.systematic,
            "coded": code.num_coded,
            "stragglers": code.stragglers,
            "scheme": scheme_of(code, len(models), code.heads * outputs).to_json(),
            "shapes": {
                "query": list(query_shape),
                "parity_query": list(code.parity_shape(query_shape)),
                "prediction": [outputs],
                "worker_output": [code.heads * outputs],
                **SHAPES,
            },
            "dtypes": DTYPES,
            "files": files,
            "parity": {"models": len(models), "fingerprints": [fingerprint(model) for model in models]},
        }
        write_json(temporary / DESCRIPTION, description)


class _AsServed(nn.Module):
    """A deployed model with its preprocessing, from queries to predictions of their type."""

    def __init__(self, preprocess: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.preprocess, self.network = preprocess, network

    def forward(self, queries: Tensor) -> Tensor:
        predictions: Tensor = self.network(self.preprocess(queries))
        return predictions.to(queries.dtype)


def _asked(query_shape: tuple[int, ...], queries: Tensor | None) -> Tensor:
    """Return different queries to compare a program of the deployed model with it: faint, bright and real ones."""
    random = probes(query_shape)
    real = [] if queries is None else [queries.cpu()]
    return torch.cat([random, BRIGHT * random[:1], -random[:1], *real])


def _write_deployed(deployed: DeployedModel, queries: Tensor, path: Path, format: ExportFormat) -> None:
    """Write the deployed model as a program, and compare the two.

    Raises:
        ExportError: If it is a function, or cannot be exported, or its program gives other numbers.
    """
    network = private_copy(deployed.network)
    if not isinstance(network, nn.Module):
        raise ExportError("it is a function, not a module")
    part = _AsServed(copy.deepcopy(deployed.preprocess), network).cpu()
    try:
        program = _written(part, (queries,), path, format)
        _compare(part, program, (queries,), name_of(format))
        _same(part, program, (queries,), name_of(format))
    except ExportError:
        path.unlink(missing_ok=True)
        raise


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parts(
    code: Code, models: Sequence[nn.Module], query_shape: tuple[int, ...], outputs: int
) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Return the modules of a bundle by name, each with example inputs."""
    random = torch.Generator().manual_seed(0)
    groups = torch.rand(3, code.k, *query_shape, generator=random)
    with torch.no_grad():
        parity_queries = code.encode(groups)
    worker_outputs = torch.rand(3, code.n, code.heads * outputs, generator=random)
    arrived = torch.ones(3, code.n, dtype=torch.bool)
    arrived[:, 0] = False
    return {
        ENCODER: (code.encoder, (groups,)),
        DECODER: (code.decoder, (worker_outputs, arrived)),
        **{parity_model(j): (model, (parity_queries[:, j],)) for j, model in enumerate(models)},
    }


def _written(part: nn.Module, example: tuple[Tensor, ...], path: Path, format: ExportFormat) -> Program:
    """Write a part and read it back."""
    try:
        format.save(part, example, path)
        return format.load(path)
    except (ExportError, OSError):
        raise
    except Exception as fault:  # a format can raise anything
        require_space(fault, {path.name: path.parent})
        raise ExportError(
            f"{type(part).__name__} cannot be exported as {name_of(format)}: {reason_of(fault)}"
        ) from fault


def _compare(part: nn.Module, program: Program, example: tuple[Tensor, ...], format: str) -> None:
    """Raise an ``ExportError`` if a program differs from its module by more than 1e-5 for some batch size."""
    for batch in BATCHES:
        inputs = tuple(value[:1].expand(batch, *value.shape[1:]).contiguous() for value in example)
        _same(part, program, inputs, format)


@torch.no_grad()
def _same(part: nn.Module, program: Program, inputs: tuple[Tensor, ...], format: str) -> None:
    """Raise an ``ExportError`` if a program differs from its module by more than 1e-5 on some inputs, or fails."""
    name, batch = f"{type(part).__name__} must give its own numbers to 1e-5 when exported as {format}", len(inputs[0])
    wanted = part(*inputs)
    try:
        given = program(*inputs)
    except Exception as fault:  # a program can raise anything
        raise ExportError(f"{name}, but raised for a batch of {batch}: {reason_of(fault)}") from fault
    if wanted.shape != given.shape or not torch.allclose(wanted, given, TOLERANCE, TOLERANCE, equal_nan=True):
        raise ExportError(f"{name}, got others for a batch of {batch}")
