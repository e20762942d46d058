"""Deployed models of the user's own: classes with their own arguments."""

from pathlib import Path

import pytest
from torch import nn

from parmtrain import compose
from tests.small_runs import small_run

LINEAR = "deployed.model={_target_: torch.nn.Linear, in_features: 64, out_features: 10}"


def test_an_architecture_with_its_own_arguments_replaces_the_tasks() -> None:
    model = compose("task=fashion_mnist", LINEAR).deployed.model
    assert dict(model) == {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10}


@pytest.mark.slow
def test_a_parity_model_takes_vectors_as_the_deployed_model_does(tmp_path: Path) -> None:
    result = small_run(tmp_path, LINEAR, "task.input.flatten=true", "code=sum", "trainer.max_epochs=1")
    (parity_model,) = result.module.parity_models
    assert isinstance(parity_model, nn.Sequential)
    assert result.metrics["degraded"]["agreement"] > 0.9  # F is linear, so its own weights are nearly right
