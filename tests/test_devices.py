"""On an accelerator, nothing stays on the CPU: seen with PyTorch's fake tensors, which have a device and no values."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from parmtrain.codes import Code, Sum, scheme_of
from parmtrain.deployed import DeployedModel
from parmtrain.training.parity_module import ParityModule
from tests.made_up_task import OUTPUTS, QUERY, cheap
from tests.test_codes import built, every_code, fresh, some_late

GROUPS = 4


def moved(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace a module's tensors by fake ones on an accelerator, which need not exist."""

    def fake(value: Tensor) -> Tensor:
        there = mode.from_tensor(value.detach())
        with mode:
            return there.to("cuda")

    for part in module.modules():
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else fake(buffer)
        for name, weight in part._parameters.items():
            part._parameters[name] = None if weight is None else nn.Parameter(fake(weight), weight.requires_grad)


@pytest.mark.slow
@every_code
def test_a_code_stays_on_the_device_of_its_queries(name: str) -> None:
    for code in map(copy.deepcopy, built(name)):
        deployed = DeployedModel(cheap())
        module = ParityModule(deployed, code, code.parity_models(QUERY, deployed, fresh))
        arrived = some_late(code, GROUPS)
        mode = FakeTensorMode()
        assert isinstance(deployed.network, nn.Module)
        for part in (module, deployed, deployed.network):
            moved(part, mode)
        with mode:
            coded = module(torch.zeros(GROUPS, code.k, *QUERY, device="cuda"))
            predictions = torch.zeros(GROUPS, code.k, OUTPUTS, device="cuda")
            decoded = module.decode(module.gather(predictions, coded), torch.zeros(arrived.shape, device="cuda").bool())
            assert coded.device.type == decoded.device.type == "cuda"
            if type(code).target is not Code.target:
                assert code.target(predictions).device.type == "cuda"


def test_a_scheme_asks_the_decoder_on_its_device() -> None:
    code, seen = Sum(2), list[str]()
    code.register_parameter("weight", nn.Parameter(torch.zeros(1, device="meta")))

    def decode(outputs: Tensor, arrived: Tensor) -> Tensor:
        seen.append(f"{outputs.device} {arrived.device}")
        return torch.zeros(len(outputs), code.k, outputs.size(2))

    code.decode = decode  # type: ignore[method-assign]
    scheme_of(code, 1, 3)
    assert set(seen) == {"meta meta"}
