"""An optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class SignDescent(torch.optim.Optimizer):
    """Step by the sign of each gradient."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.001) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(group["lr"] * parameter.grad.sign())
        return loss
