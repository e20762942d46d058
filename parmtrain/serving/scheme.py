"""What a frontend must know of a code: who runs what, and which predictions what arrived gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

DEPLOYED = 0


class Decodes(Protocol):
    """A code, or an exported bundle."""

    @property
    def k(self) -> int:
        """Queries in a group."""

    @property
    def n(self) -> int:
        """Workers that answer a group."""

    @property
    def systematic(self) -> bool:
        """Whether the deployed model runs the queries themselves."""

    def decode(self, outputs: Tensor, arrived: Tensor) -> Tensor:
        """Map worker outputs ``[g, n, c]`` and who arrived ``[g, n]`` to predictions ``[g, k, c]``."""


@dataclass(frozen=True)
class Scheme:
    """How k queries are answered by n workers.

    Sets of workers and of positions are bit masks: bit i stands for worker, or position, i.

    Args:
        k: Queries in a coding group; 1 where nothing waits for others.
        n: Workers that answer a group.
        systematic: Whether worker i < k is the deployed model on query i; the others run coded queries.
        pools: For each coded query, the pool of instances that runs it; pool 0 is the deployed model's.
        recoverable: From the workers that arrived to the positions whose predictions can be given.
    """

    k: int
    n: int
    systematic: bool
    pools: tuple[int, ...]
    recoverable: Callable[[int], int]

    @property
    def own(self) -> int:
        """Workers that run the queries themselves."""
        return self.k if self.systematic else 0


def uncoded() -> Scheme:
    """Return the scheme of a service without redundancy: each query by itself, to the deployed model.

    Example:
        >>> uncoded().recoverable(0b1)
        1
    """
    return Scheme(k=1, n=1, systematic=True, pools=(), recoverable=lambda arrived: arrived & 1)


def backed_up() -> Scheme:
    """Return the scheme of a cheaper backup model in pool 1, which is sent every query at once."""
    return Scheme(k=1, n=2, systematic=True, pools=(1,), recoverable=lambda arrived: int(arrived > 0))


def erasure_code(k: int, r: int) -> Scheme:
    """Return the scheme of a code of r parity models, pools 1 to r, where any k of the k + r outputs give all.

    Example:
        >>> scheme = erasure_code(k=2, r=1)
        >>> bin(scheme.recoverable(0b101)), bin(scheme.recoverable(0b001))
        ('0b11', '0b1')
    """
    everyone = (1 << k) - 1

    def recoverable(arrived: int) -> int:
        return everyone if arrived.bit_count() >= k else arrived & everyone

    return Scheme(k, k + r, systematic=True, pools=tuple(range(1, r + 1)), recoverable=recoverable)


def scheme_of(code: Decodes, parity_models: int, width: int) -> Scheme:
    """Return the scheme of a code, read off its own decoder: what it cannot rebuild it says is NaN.

    Args:
        code: A code or a bundle.
        parity_models: Models beside the deployed one; without any, the deployed model runs the coded queries, with one,
            it runs all of them, otherwise each runs its own.
        width: Length of a worker output.

    Example:
        >>> from parmtrain.codes import Concat, Heads
        >>> scheme = scheme_of(Heads(Concat(k=4)), parity_models=1, width=4)
        >>> bin(scheme.recoverable(0b10000))  # one parity output gives all four
        '0b1111'
    """
    k, n = code.k, code.n
    coded = n - k if code.systematic else n
    pools = tuple(range(1, coded + 1)) if parity_models > 1 else (min(parity_models, 1),) * coded

    @cache
    def recoverable(arrived: int) -> int:
        here = torch.tensor([[bool(arrived >> worker & 1) for worker in range(n)]])
        if not coded:  # a decoder that needs no outputs answers by default, and for that there is a deadline
            return arrived
        with torch.no_grad():
            decoded = code.decode(torch.zeros(1, n, width), here)
        return mask(decoded[0].isfinite().all(dim=1).tolist())

    return Scheme(k, n, code.systematic, pools, recoverable)


def mask(flags: Sequence[bool]) -> int:
    """Return the bit mask of those flags that are set.

    Example:
        >>> mask([True, False, True])
        5
    """
    return sum(1 << i for i, flag in enumerate(flags) if flag)
