"""Recognise the deployed model that a bundle was trained for."""

from pathlib import Path
from typing import Any

from torch import nn

from parmtrain.answers import answering
from parmtrain.deployed import DeployedModel, fingerprint, private_copy
from parmtrain.errors import ExportError
from parmtrain.probes import probes, require_answers
from parmtrain.programs import Network


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
        flat = nn.Flatten() if about.get("flatten") else nn.Identity()
        if isinstance(own, nn.Module):
            own.cpu()
        if fingerprint(own) == expected:
            own = answering(own, about.get("output"), flat(probes(query_shape)), "the deployed model")
        model = DeployedModel(own, preprocess=flat)
    if model.fingerprint != expected:
        raise ExportError(
            f"the deployed model must be the one that the bundle in {bundle} was trained for, {expected[:16]}…, got "
            f"{model.fingerprint[:16]}…"
        )
    if (wanted := about.get("answers")) is not None:
        require_answers(model, query_shape, wanted, "the deployed model")
    return model.cpu()
