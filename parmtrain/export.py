"""Export of a code and its parity models: TorchScript archives, which load without parmtrain, and a description."""

import copy
import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.bundle import DECODER, DESCRIPTION, ENCODER, FORMAT, parity_file
from parmtrain.deployed import DeployedModel, fingerprint
from parmtrain.errors import ExportError
from parmtrain.files import replacing, write_json
from parmtrain.training.parity_module import ParityModule

TOLERANCE = 1e-5
BATCHES = (1, 2, 5)


def export(
    module: ParityModule, query_shape: tuple[int, ...], predictions: int, about: dict[str, Any], folder: Path
) -> None:
    """Write a bundle, whole or not at all, and compare it with the module it was made from.

    The deployed model is in no bundle: where it runs the coded queries, the bundle says that it has no parity model.

    Args:
        module: The module; it is left as it is.
        query_shape: Shape of one query.
        predictions: Length of one prediction.
        about: What the description says beside shapes, types, files and fingerprints.
        folder: Folder to write; one that is there is replaced.

    Raises:
        ExportError: If a part cannot be exported, or does not give the module's own numbers to 1e-5.
    """
    code = copy.deepcopy(module.code).cpu().eval()
    models = [
        copy.deepcopy(model).cpu().eval() for model in module.parity_models if not isinstance(model, DeployedModel)
    ]
    parity_shape = code.parity_shape(query_shape)
    random = torch.Generator().manual_seed(0)
    groups = torch.rand(3, code.k, *query_shape, generator=random)
    with torch.no_grad():
        parity_queries = code.encode(groups)
    outputs = torch.rand(3, code.n, code.heads * predictions, generator=random)
    arrived = torch.ones(3, code.n, dtype=torch.bool)
    arrived[:, 0] = False
    parts: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
        ENCODER: (code.encoder, (groups,)),
        DECODER: (code.decoder, (outputs, arrived)),
    }
    for j, model in enumerate(models):
        parts[parity_file(j)] = (model, (parity_queries[:, j],))
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, (part, example) in parts.items():
            to_torchscript(part, example).save(temporary / name)
        description = {
            "format": FORMAT,
            **about,
            "k": code.k,
            "r": code.r,
            "n": code.n,
            "code": code.name,
            "systematic": code.systematic,
            "coded": code.coded,
            "stragglers": code.stragglers,
            "shapes": {
                "query": list(query_shape),
                "parity_query": list(parity_shape),
                "prediction": [predictions],
                "worker_output": [code.heads * predictions],
                "encoder": "queries [g, k, *query] -> coded queries [g, coded, *parity_query]",
                "parity_model": "[b, *parity_query] -> [b, *worker_output]",
                "decoder": "worker outputs [g, n, *worker_output], arrived [g, n] (bool) -> [g, k, *prediction]; "
                "zeros follow on a prediction that is shorter than a worker output",
            },
            "dtypes": {"query": "float32", "prediction": "float32", "arrived": "bool"},
            "files": {name: hashlib.sha256((temporary / name).read_bytes()).hexdigest() for name in parts},
            "parity": {"models": len(models), "fingerprints": [fingerprint(model) for model in models]},
        }
        write_json(temporary / DESCRIPTION, description)


def to_torchscript(part: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Compile a module, or trace it where its code cannot be compiled, and check the numbers for several batches.

    Args:
        part: Module in evaluation mode.
        example: Its inputs, batch first.

    Raises:
        ExportError: If the result differs from the module by more than 1e-5 for some batch size.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is what bundles promise; PyTorch would rather have torch.export
        try:
            compiled = torch.jit.script(part)
        except Exception:  # not every module is within TorchScript's language
            compiled = torch.jit.trace(part, example)
        for batch in BATCHES:
            inputs = tuple(value[:1].expand(batch, *value.shape[1:]).contiguous() for value in example)
            wanted, given = part(*inputs), compiled(*inputs)
            if wanted.shape != given.shape or not torch.allclose(wanted, given, TOLERANCE, TOLERANCE, equal_nan=True):
                raise ExportError(f"{type(part).__name__} gives other numbers as TorchScript for a batch of {batch}")
    return compiled
