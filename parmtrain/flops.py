"""Arithmetic of networks, and networks of a given amount of it."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from parmtrain.errors import UnsupportedError, reason_of

MOST_WEIGHTS = 2**26
WIDEST = 256.0  # times as wide, and as narrow, as a model is by itself
_others: ContextVar[list[int] | None] = ContextVar("_others", default=None)  # of what runs outside PyTorch


def flops(network: Callable[..., Any], *inputs: Tensor) -> int:
    """Return the floating-point operations of matrix products and convolutions in one call, as PyTorch counts them.

    Example:
        >>> flops(nn.Linear(4, 3), torch.ones(2, 4))
        48
    """
    counter, others = FlopCounterMode(display=False), list[int]()
    token = _others.set(others)
    try:
        with _unfused(), counter, torch.no_grad():
            network(*inputs)
    finally:
        _others.reset(token)
    return int(counter.get_total_flops()) + sum(others)


def count(number: Callable[[], int]) -> None:
    """Add the FLOPs of what runs outside PyTorch to those that ``flops`` is counting now, if it is.

    Args:
        number: Returns the FLOPs; it is called if they are counted.

    Example:
        >>> def elsewhere(queries: Tensor) -> Tensor:
        ...     count(lambda: 100)
        ...     return queries
        >>> flops(elsewhere, torch.ones(2, 4))
        100
    """
    others = _others.get()
    if others is not None:
        others.append(number())


@contextmanager
def _unfused() -> Iterator[None]:
    """Run attention and recurrent layers as the products that they are; the counter does not see into fused kernels."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # PyTorch warns of a setting of Intel's GPUs that is not touched here
            with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def widest(build: Callable[[float], nn.Module], shape: tuple[int, ...], most: float, name: str) -> nn.Module:
    """Return the widest network that stays within a budget of arithmetic, and has no more than 2²⁶ weights.

    Args:
        build: Builds a network of a width; a wider one takes as much arithmetic or more.
        shape: Shape of one query.
        most: Largest number of FLOPs for one query.
        name: Name of the budget in the error message.

    Raises:
        UnsupportedError: If no width stays within the budget.

    Example:
        >>> widest(lambda width: nn.Linear(4, round(8 * width)), (4,), most=100, name="the budget")
        Linear(in_features=4, out_features=12, bias=True)
    """

    def cost(width: float) -> float:
        with torch.random.fork_rng(devices=[]):
            try:
                network = build(width)
            except TypeError as fault:
                raise UnsupportedError(
                    f"{name} needs a model whose width is a factor, such as model@code.model=student, got one that "
                    f"raised: {reason_of(fault)}"
                ) from fault
            if sum(weight.numel() for weight in network.parameters()) > MOST_WEIGHTS:
                return inf
            return flops(network.eval(), torch.zeros(1, *shape))

    low = high = 1.0
    while cost(high) <= most and high < WIDEST:
        low, high = high, 2 * high
    while (least := cost(low)) > most:
        if low <= 1 / WIDEST:
            raise UnsupportedError(
                f"{name} leaves {most:,.0f} FLOPs for a query, got a model that takes {least:,} at its narrowest; "
                "raise the budget, or name a smaller model"
            )
        low, high = low / 2, low
    while high / low > 1 + 1 / WIDEST:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if cost(middle) <= most else (low, middle)
    return build(low)
