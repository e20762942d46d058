"""State dicts as the world has them: bare, in a checkpoint among other things, and with prefixed names."""

import argparse
import logging
import pathlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.errors import DeployedModelError

log = logging.getLogger(__name__)

PLACES = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
    "module",
    "ema",
)
COUNTER = "num_batches_tracked"  # which batch normalisation did not have before PyTorch 0.4.1, and hardly uses
AVERAGES = "n_averaged"  # which torch.optim.swa_utils.AveragedModel adds
LISTED = 3
SETTINGS: list[Any] = [  # plain values that many checkpoints hold beside tensors
    argparse.Namespace,
    pathlib.PosixPath,
    np.dtype,
    type(np.float64(0)),
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.float64(0).__reduce__()[0],
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict as plain data, from a file of its own or from a checkpoint.

    Args:
        path: A file of ``torch.save`` or of safetensors. In a checkpoint, the state dict is looked for under each of
            ``PLACES``, in this order, also in several layers.

    Raises:
        DeployedModelError: If it is of safetensors, which are not installed.
        TypeError: If it holds none.
        Exception: If the file is damaged; the type depends on the damage.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     torch.save({"epoch": 3, "model": {"bias": torch.ones(1)}}, f"{folder}/f.pt")
        ...     read_state_dict(Path(folder, "f.pt"))
        {'bias': tensor([1.])}
    """
    if _is_safetensors(path):
        try:
            from safetensors.torch import load_file
        except ImportError as fault:
            raise DeployedModelError(
                f"{path} is a file of safetensors: pip install 'parmtrain[safetensors]'"
            ) from fault
        return dict(load_file(path))
    with torch.serialization.safe_globals(SETTINGS):
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise TypeError(f"got a {type(content).__name__}")
    state = _state_in(content, path.name)
    if not state:
        raise TypeError(f"no tensors under {_listed(map(str, content)) or 'any name'}")
    return state


def _state_in(content: Mapping[Any, Any], name: str) -> dict[str, Tensor]:
    """Return the tensors of a mapping, or those under the first of its ``PLACES`` that has some."""
    inner = {place: _state_in(content[place], name) for place in PLACES if isinstance(content.get(place), Mapping)}
    held = [place for place, state in inner.items() if state]
    if len(held) > 1:
        log.warning("%s holds state dicts under %s; taking the first", name, _listed(held))
    if held:
        return inner[held[0]]
    if own := {str(key): value for key, value in content.items() if isinstance(value, Tensor)}:
        return own
    found = {str(key): _state_in(value, name) for key, value in content.items() if isinstance(value, Mapping)}
    held = [key for key, state in found.items() if state]
    if len(held) == 1:
        log.info("%s: taking the state dict under %s", name, held[0])
        return found[held[0]]
    return {}


def load_weights(network: nn.Module, state: Mapping[str, Tensor], name: str) -> nn.Module:
    """Load a state dict into a network of the same architecture.

    Names may have a prefix, such as ``module.`` or ``model._orig_mod.``. Whatever does not have it belongs to something
    else, such as a loss or a moving average, and is left out. Numbers of another type are converted.

    Args:
        network: The network.
        state: The state dict.
        name: Name of its file in messages.

    Raises:
        DeployedModelError: If names or shapes differ; the message lists the first three.
    """
    expected = network.state_dict()
    prefix, *others = prefixes(state, expected) or [""]
    if others:
        log.warning("%s holds several networks, under %s; taking the first", name, _listed([prefix, *others]))
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    beside = [key for key in state if not key.startswith(prefix) and key != AVERAGES]
    if beside:
        log.warning("%s: %s are left out, which %s has no weights for", name, _listed(beside), type(network).__name__)
    counters = {key: value for key, value in expected.items() if key.endswith(COUNTER)}
    given = {**counters, **own}
    if AVERAGES not in expected:
        given.pop(AVERAGES, None)
    faults = [f"{key} is missing" for key in expected.keys() - given.keys()]
    faults += [f"{key} is unexpected" for key in given.keys() - expected.keys()]
    faults += [
        f"{key} must be real floating-point numbers, got {str(given[key].dtype).removeprefix('torch.')}"
        for key in expected.keys() & given.keys()
        if expected[key].is_floating_point() and not given[key].is_floating_point()
    ]
    faults += [
        f"{key} must have shape {list(expected[key].shape)}, got {list(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if given[key].shape != expected[key].shape
    ]
    if faults:
        rest = f", and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise DeployedModelError(
            f"{name}: the weights must fit {type(network).__name__}: "
            f"{'; '.join(sorted(faults)[:LISTED])}{rest}; set deployed.model._target_=… to their architecture"
        )
    network.load_state_dict(given)
    return network


def prefixes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the prefix of names under which most of the expected tensors are, and others with as many of their shape.

    The first is the shortest of those with as many; there is none where no name fits.

    Example:
        >>> prefixes({"net.bias": torch.ones(2), "bias": torch.ones(3)}, {"bias": torch.zeros(2)})
        ['net.']
    """
    fitting: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for key, value in state.items():
        pieces = key.split(".")
        for cut in range(len(pieces)):
            wanted = expected.get(".".join(pieces[cut:]))
            if wanted is not None and not key.endswith(COUNTER):
                prefix = "".join(f"{piece}." for piece in pieces[:cut])
                named[prefix] += 1
                fitting[prefix] += wanted.shape == value.shape
    ordered = sorted(named, key=lambda prefix: (-fitting[prefix], -named[prefix], len(prefix)))
    return ordered[:1] + [prefix for prefix in ordered[1:] if fitting[prefix] == fitting[ordered[0]] > 0]


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as those of safetensors: the length of a header, and the header, in JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _listed(names: Any) -> str:
    every = [one or "no prefix" for one in names]
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")
