"""State dicts as the world has them: bare, in a checkpoint among other things, and with prefixed names."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    with torch.serialization.safe_globals([argparse.Namespace]):  # the settings that many checkpoints hold
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(content, Mapping):
        inner = next((content[place] for place in PLACES if isinstance(content.get(place), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise TypeError(f"got a {type(content).__name__}")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise TypeError(f"no tensors under {_listed(map(str, content)) or 'any name'}")
    return state


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
    prefix = _prefix(state, expected, name)
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    counters = {key: value for key, value in expected.items() if key.endswith(COUNTER)}
    given = {**counters, **own}
    if AVERAGES not in expected:
        given.pop(AVERAGES, None)
    faults = [f"{key} is missing" for key in expected.keys() - given.keys()]
    faults += [f"{key} is unexpected" for key in given.keys() - expected.keys()]
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


def _is_safetensors(path: Path) -> bool:
    """Return whether a file begins as those of safetensors: the length of a header, and the header, in JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _prefix(state: Mapping[str, Tensor], expected: Mapping[str, Any], name: str) -> str:
    """Return the prefix under which most of the expected names are; the shortest of those with the same number."""
    found: dict[str, int] = {}
    for key in state:
        pieces = key.split(".")
        for cut in range(len(pieces)):
            if ".".join(pieces[cut:]) in expected:
                prefix = "".join(f"{piece}." for piece in pieces[:cut])
                found[prefix] = found.get(prefix, 0) + 1
    ordered = sorted(found, key=lambda prefix: (-found[prefix], len(prefix)))
    others = [prefix for prefix in ordered[1:] if found[prefix] == found[ordered[0]]]
    if others and found[ordered[0]] > 1:
        log.warning("%s holds several networks, under %s; taking the first", name, _listed([ordered[0], *others]))
    return ordered[0] if ordered else ""


def _listed(names: Any) -> str:
    every = [one or "no prefix" for one in names]
    return ", ".join(every[:LISTED]) + (f" and {len(every) - LISTED} more" if len(every) > LISTED else "")
