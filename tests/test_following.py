"""Fronts and instances take another version of a bundle while they run, and keep what adaptation learns from."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from parmtrain.adaptation import PairFolder, Versions
from parmtrain.adaptation.pairs import CHUNK
from parmtrain.adaptation.shadow import Learned
from parmtrain.bundle import Bundle
from parmtrain.confidence import Promises, Softmax
from parmtrain.errors import ConfigError
from parmtrain.evaluation.certainty import Calibrated
from parmtrain.result import Result
from parmtrain.serving.process.link import Link
from parmtrain.serving.service.keeping import Kept
from tests.fleets import ask, call, front, instance_of, listed
from tests.servers import serving, wait_for


def promoted(versions: Versions, threshold: float) -> None:
    """Promote parity models that are those which serve, but for a little, with another threshold."""
    bundle = versions.bundle()
    (model,) = bundle.parity_models
    assert isinstance(model, torch.nn.Module)
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)
    trusted = Calibrated(Softmax("class scores", 1, 10), Promises(0.9, {0.9: [threshold]}))
    versions.promote(Learned([model], 0.9, 0.8, 0.001, trusted), pairs=512)
