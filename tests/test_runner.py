"""Networks on the device that they run on; on a GPU, where there is one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parmtrain.errors import ConfigError
from parmtrain.serving.instances.runner import Runner

QUERIES = np.random.default_rng(0).random((8, 3, 16, 16), dtype=np.float32)


def convolutional() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ).eval()


def test_a_network_runs_in_the_type_that_is_asked_for() -> None:
    exact, mixed = Runner(convolutional()), Runner(convolutional(), precision="bfloat16")
    own = convolutional()(torch.from_numpy(QUERIES)).detach().numpy()
    assert np.allclose(exact(QUERIES), own, atol=1e-6)
    assert mixed(QUERIES).dtype == np.float32
    assert 0 < np.abs(mixed(QUERIES) - own).max() < 0.02


def test_a_network_that_does_not_run_is_told_of_before_it_serves() -> None:
    def fails(queries: Tensor) -> Tensor:
        raise RuntimeError("no kernel")

    with pytest.raises(ConfigError, match="the model must run on device=cpu, but: no kernel"):
        Runner(fails).warm_up((2,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.02), ("float16", 0.01)])
def test_a_gpu_gives_the_predictions_of_the_cpu(precision: str, tolerance: float) -> None:
    given = torch.from_numpy(QUERIES)
    exported = torch.jit.trace(convolutional(), given)
    runner = Runner(exported, "cuda", precision)
    runner.warm_up((3, 16, 16), most=8)
    own = convolutional()(given).detach().numpy()
    assert np.abs(runner(QUERIES) - own).max() < tolerance
    assert next(exported.parameters()).device.type == "cuda"
