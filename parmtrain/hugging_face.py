"""Classifiers of images or of sounds in a folder of Hugging Face's transformers."""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from parmtrain.errors import DeployedModelError, reason_of

log = logging.getLogger(__name__)
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # in one file, or in several
LISTED = 3
STATED = ("size", "crop_size", "image_mean", "image_std", "sampling_rate")


def is_of_hugging_face(path: Path) -> bool:
    """Return whether a path is a folder that ``save_pretrained`` wrote."""
    return (path / CONFIG).is_file()


def read_hugging_face(folder: Path) -> nn.Module:
    """Read a classifier from a folder, without the network and without running code of the folder.

    What its preprocessor states is logged, to be compared with ``task.input``.

    Args:
        folder: Folder with ``config.json`` and ``model.safetensors``.

    Returns:
        The model; it returns an object with ``logits``.

    Raises:
        DeployedModelError: If transformers is not installed, or the folder holds no classifier.
    """
    try:
        import transformers
    except ImportError as fault:
        raise DeployedModelError(
            f"{folder} is of Hugging Face's transformers: pip install 'parmtrain[hugging_face]'"
        ) from fault
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise DeployedModelError(
            f"{folder} must hold {WEIGHTS[0]}, got none; save it with save_pretrained(…, safe_serialization=True)"
        )
    name = _architecture(folder)
    if name not in _classifiers():
        raise DeployedModelError(
            f"{folder / CONFIG} must name a classifier of images or sounds under architectures, got {name or 'none'}"
        )
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        network: nn.Module
        network, about = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as fault:  # a folder of others can raise anything
        raise DeployedModelError(f"{folder} cannot be read as a {name}: {reason_of(fault)}") from fault
    if lacking := sorted(map(str, [*about["missing_keys"], *about["mismatched_keys"]])):
        some = ", ".join(lacking[:LISTED]) + (f" and {len(lacking) - LISTED} more" if lacking[LISTED:] else "")
        raise DeployedModelError(f"{folder} must hold all weights of a {name}, but {some} would be random")
    if (folder / PREPROCESSOR).is_file():
        stated = _json(folder / PREPROCESSOR)
        _say(", ".join(f"{key} {stated[key]}" for key in STATED if key in stated))
    return network


@cache
def _say(stated: str) -> None:
    """Log what a preprocessor states, once."""
    log.info("deployed model: its preprocessor states %s; task.input must do the same", stated)


def _classifiers() -> set[str]:
    """Return the names of the classes of transformers that classify images or sounds."""
    from transformers.models.auto import modeling_auto as auto

    mappings = (auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES)
    every = [names for mapping in mappings for names in mapping.values()]
    return {name for names in every for name in ([names] if isinstance(names, str) else names)}


def _architecture(folder: Path) -> str:
    named = _json(folder / CONFIG).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DeployedModelError(f"{path} must be valid JSON: {reason_of(fault)}") from fault
    if not isinstance(content, dict):
        raise DeployedModelError(f"{path} must hold an object, got a {type(content).__name__}")
    return content
