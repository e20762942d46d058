"""Export a code and its parity models as programs that a service loads, with a description."""

import copy
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.bundle.deployed_part import write_deployed
from parmtrain.bundle.description import CONFIDENCE, DECODER, DESCRIPTION, ENCODER, FORMAT, parity_model
from parmtrain.bundle.formats import ExportFormat, for_parity_models, name_of
from parmtrain.bundle.parts import BATCHES, compare, require_same_numbers, written
from parmtrain.bundle.torchscript import TorchScript
from parmtrain.codes import Code, arrivals, scheme_of
from parmtrain.deployed import DeployedModel, fingerprint
from parmtrain.errors import ExportError
from parmtrain.files import replacing, write_json

log = logging.getLogger(__name__)
SHAPES = {
    "encoder": "queries [g, k, *query] -> coded queries [g, coded, *parity_query]",
    "parity_model": "[b, *parity_query] -> [b, *worker_output]",
    "deployed": "queries [b, *query] -> predictions [b, *prediction]",
    "decoder": "worker outputs [g, n, *worker_output], arrived [g, n] (bool) -> [g, k, *prediction]; predictions that "
    "are shorter than a worker output are padded with zeros",
    "confidence": "predictions [g, k, *prediction], arrived [g, n] (bool) -> [g, k], from 0 to 1",
}
ROWS = max(BATCHES)
PATTERNS = 32  # of workers that arrived, under which decoders and confidences are compared
LATE = 8  # numbers of late workers among them
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
    confidence: nn.Module | None = None,
    groups: Tensor | None = None,
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
        confidence: How far each reconstructed prediction can be trusted, if it is known; it is not changed.
        groups: Real groups of queries ``[g, k, *query]``, to which formats that round numbers fit how they do.

    Raises:
        ExportError: If a part cannot be exported, or its program does not give the module's numbers to 1e-5.
    """
    format = format or TorchScript()
    with torch.no_grad():  # copies of TorchScript modules would have a history otherwise
        code = copy.deepcopy(code).cpu().eval()
        models = [copy.deepcopy(one).cpu().eval() for one in parity_models if not isinstance(one, DeployedModel)]
    parts = _parts(code, models, query_shape, outputs, groups)
    if confidence is not None:
        worker_outputs, arrived = parts[DECODER][1]
        trusted = copy.deepcopy(confidence).cpu().eval()
        parts[CONFIDENCE] = trusted, (worker_outputs[:, : code.k, :outputs].contiguous(), arrived)
    asked = _erased(code, outputs)
    with replacing(folder) as temporary:
        temporary.mkdir()
        files = {}
        for name, (part, example) in parts.items():
            path, own = temporary / f"{name}{format.suffix}", for_parity_models(format) if part in models else format
            program = written(part, example, path, own)
            compare(part, program, example, own)
            if name in asked:
                require_same_numbers(part, program, asked[name], own)
            files[path.name] = _digest(path)
        if deployed is not None:
            try:
                path = write_deployed(deployed, query_shape, queries, temporary, format)
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
            "code": code.label,
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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parts(
    code: Code, models: Sequence[nn.Module], query_shape: tuple[int, ...], outputs: int, groups: Tensor | None
) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """Return the modules of a bundle by name, each with example inputs."""
    random = torch.Generator().manual_seed(0)
    if groups is None:
        groups = torch.rand(ROWS, code.k, *query_shape, generator=random)
    with torch.no_grad():
        parity_queries = code.encode(groups)
    worker_outputs = torch.rand(ROWS, code.n, code.heads * outputs, generator=random)
    arrived = torch.ones(ROWS, code.n, dtype=torch.bool)
    arrived[torch.arange(ROWS), torch.arange(ROWS) % code.n] = False
    return {
        ENCODER: (code.encoder, (groups,)),
        DECODER: (code.decoder, (worker_outputs, arrived)),
        **{parity_model(j): (model, (parity_queries[:, j],)) for j, model in enumerate(models)},
    }


def _erased(code: Code, outputs: int) -> dict[str, tuple[Tensor, ...]]:
    """Return inputs of the decoder and the confidence under different arrival patterns: all of them, or some."""
    numbers = range(0, code.r + 1, max(1, code.r // LATE))
    arrived = torch.cat([arrivals(code.n, late, PATTERNS // len(numbers)) for late in numbers])
    random = torch.Generator().manual_seed(1)
    given = torch.rand(len(arrived), code.n, code.heads * outputs, generator=random)
    predictions = given[:, : code.k, :outputs].contiguous()
    return {DECODER: (given.masked_fill(~arrived.unsqueeze(2), torch.nan), arrived), CONFIDENCE: (predictions, arrived)}
