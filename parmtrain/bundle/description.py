"""``bundle.json``: the description of a bundle, and the names of its files."""

import json
from pathlib import Path
from typing import Any

from parmtrain.errors import ExportError

FORMAT = 4  # format 3 had neither an export format nor a scheme
READABLE = (3, 4)
DESCRIPTION, ENCODER, DECODER = "bundle.json", "encoder", "decoder"
TORCHSCRIPT = "parmtrain.bundle.torchscript.TorchScript"  # the export format of all bundles in format 3


def parity_model(j: int) -> str:
    """Return the file name of parity model j, counted from 0, without the suffix of its format.

    Example:
        >>> parity_model(0), parity_model(1)
        ('parity_model', 'parity_model_2')
    """
    return "parity_model" if j == 0 else f"parity_model_{j + 1}"


def read_description(folder: Path) -> dict[str, Any]:
    """Return the content of ``bundle.json``.

    Raises:
        ExportError: If it is missing, damaged, or in an unsupported format.
    """
    path = folder / DESCRIPTION
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise ExportError(f"{folder} must hold a bundle, but {path} does not exist") from fault
    except ValueError as fault:
        raise ExportError(f"{path} must be valid JSON: {fault}") from fault
    if about.get("format") not in READABLE:
        raise ExportError(f"{path} must have format {' or '.join(map(str, READABLE))}, got {about.get('format')}")
    return about
