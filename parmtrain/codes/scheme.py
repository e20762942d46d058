"""A code as data for a frontend: which worker runs what, and which predictions are recoverable from which outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations
from math import comb
from typing import Any, NamedTuple

import torch
from torch import nn

from parmtrain.codes.protocol import Coder
from parmtrain.codes.stored import StoredScheme
from parmtrain.validation import first_wrong

DEPLOYED = 0
MOST_WORKERS = 12  # with more workers, not every set of them is tried
MOST_NUMBERS = 2**24  # decoded at once


class Quorum(NamedTuple):
    """A condition for recovering a prediction: enough of some workers of a group have arrived.

    Args:
        need: Number of these workers that must arrive.
        workers: The workers, numbered from 0.
    """

    need: int
    workers: tuple[int, ...]


@dataclass(frozen=True)
class Scheme:
    """How n workers serve k queries.

    Sets of workers and of positions are bit masks: bit i stands for worker or position i.

    Args:
        k: Queries in a coding group; 1 without coding.
        n: Workers per group.
        systematic: Whether worker i < k is the deployed model on query i; the others run coded queries.
        pools: For each coded query, the pool of instances that runs it; pool 0 is the deployed model's.
        quorums: Per position, the quorums that recover its prediction; any one of them is enough.

    Example:
        >>> scheme = erasure_code(k=2, r=1)
        >>> bin(scheme.recoverable(0b101)), bin(scheme.recoverable(0b001))
        ('0b11', '0b1')
        >>> Scheme.from_json(scheme.to_json()) == scheme
        True
    """

    k: int
    n: int
    systematic: bool
    pools: tuple[int, ...]
    quorums: tuple[tuple[Quorum, ...], ...]

    @property
    def own(self) -> int:
        """Number of workers that run the queries themselves."""
        return self.k if self.systematic else 0

    @cached_property
    def partial(self) -> bool:
        """Whether a group may have fewer than k queries: one coded output gives a prediction without all others."""
        return (
            all(
                any(one.need == 1 and max(one.workers) >= self.own for one in some if len(one.workers) > 1)
                for some in self.quorums
            )
            and bool(self.pools)
            and self.systematic
        )

    def recoverable(self, arrived: int) -> int:
        """Return the positions whose predictions are available once the workers ``arrived``."""
        given = self._known.get(arrived)
        if given is None:
            given = self._known[arrived] = mask(
                [any((arrived & workers).bit_count() >= need for need, workers in quorums) for quorums in self._masks]
            )
        return given

    def require(self, instances: Sequence[int], k: int) -> None:
        """Raise a ``ValueError`` if groups of k are not served, or a pool of instances that runs something has none."""
        if not (k == self.k or (self.partial and 1 <= k < self.k)):
            raise ValueError(f"k must be {self.k}, the scheme's{' or less' if self.partial else ''}, got {k}")
        last = max((DEPLOYED, *self.pools))
        if last >= len(instances) or min(instances) < 1:
            raise ValueError(f"each pool from 0 to {last} must have an instance, got {list(instances)}")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        quorums = [[{"need": one.need, "of": list(one.workers)} for one in some] for some in self.quorums]
        return {
            "k": self.k,
            "n": self.n,
            "systematic": self.systematic,
            "pools": list(self.pools),
            "recoverable_from": quorums,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Scheme":
        """Return the scheme that ``to_json`` wrote.

        Raises:
            ValueError: If the content is not a scheme; the message says why.
        """
        wrong = first_wrong(StoredScheme, content)
        if wrong is not None:
            raise ValueError(f"{wrong.key or 'a scheme'} {wrong.sentence}")
        quorums = tuple(
            tuple(Quorum(one["need"], tuple(one["of"])) for one in some) for some in content["recoverable_from"]
        )
        return cls(content["k"], content["n"], content["systematic"], tuple(content["pools"]), quorums)

    @cached_property
    def _masks(self) -> list[list[tuple[int, int]]]:
        return [[(one.need, sum(1 << worker for worker in one.workers)) for one in some] for some in self.quorums]

    @cached_property
    def _known(self) -> dict[int, int]:
        return {}


def uncoded() -> Scheme:
    """Return the scheme of a service without redundancy: the deployed model runs each query.

    Example:
        >>> uncoded().recoverable(0b1)
        1
    """
    return Scheme(k=1, n=1, systematic=True, pools=(), quorums=((Quorum(1, (0,)),),))


def backed_up() -> Scheme:
    """Return the scheme of a cheaper backup model in pool 1, which also runs every query."""
    return Scheme(k=1, n=2, systematic=True, pools=(1,), quorums=((Quorum(1, (0, 1)),),))


def erasure_code(k: int, r: int) -> Scheme:
    """Return the scheme of a code with r parity models in pools 1 to r, where any k of k + r outputs suffice."""
    others = [tuple(worker for worker in range(k + r) if worker != i) for i in range(k)]
    quorums = tuple((Quorum(1, (i,)), Quorum(k, others[i])) for i in range(k))
    return Scheme(k, k + r, systematic=True, pools=tuple(range(1, r + 1)), quorums=quorums)


def heads_code(k: int) -> Scheme:
    """Return the scheme of a code with one parity model in pool 1, whose output recovers any of the k predictions.

    Example:
        >>> bin(heads_code(k=3).recoverable(0b1000))
        '0b111'
    """
    return Scheme(k, k + 1, systematic=True, pools=(1,), quorums=tuple((Quorum(1, (i, k)),) for i in range(k)))


def scheme_of(code: Coder, parity_models: int, width: int) -> Scheme:
    """Return the scheme of a code, derived from its decoder, which returns NaN for unrecoverable predictions.

    Args:
        code: A code or a bundle.
        parity_models: Number of parity models. With 0, the deployed model runs the coded queries; with 1, that model
            runs all of them; otherwise, each runs one.
        width: Length of a worker output.

    Example:
        >>> from parmtrain.codes import Concat, Heads
        >>> scheme = scheme_of(Heads(Concat(k=4)), parity_models=1, width=4)
        >>> bin(scheme.recoverable(0b10000))  # the parity output recovers all four
        '0b1111'
        >>> scheme.quorums[0]
        (Quorum(need=1, workers=(0, 4)),)
    """
    coded = code.n - code.k if code.systematic else code.n
    pools = tuple(range(1, coded + 1)) if parity_models > 1 else (min(parity_models, 1),) * coded
    return Scheme(code.k, code.n, code.systematic, pools, _quorums(code, width))


def mask(flags: Sequence[bool]) -> int:
    """Return flags as a bit mask.

    Example:
        >>> mask([True, False, True])
        5
    """
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _quorums(code: Coder, width: int) -> tuple[tuple[Quorum, ...], ...]:
    """Return the smallest sets of workers that recover each position.

    For a code without coded queries, the decoder's default does not count: it is returned at the deadline. A code that
    is not systematic can approximate predictions from any number of outputs; it waits for all but its stragglers, as in
    its score.
    """
    everyone = tuple(range(code.n))
    promised = Quorum(code.n - code.stragglers, everyone)
    if not code.systematic:
        return ((promised,),) * code.k
    if code.n == code.k:
        return tuple((Quorum(1, (i,)),) for i in range(code.k))
    few = code.n > MOST_WORKERS  # then sets of one and two workers, and what the code promises, describe it
    sizes = range(3 if few else code.n + 1)
    given = _given(code, width, [some for size in sizes for some in combinations(everyone, size)])
    quorums = [_united(_smallest({arrived for arrived in given if given[arrived] >> i & 1})) for i in range(code.k)]
    return tuple((*some, promised) if few else some for some in quorums)


@torch.no_grad()
def _given(code: Coder, width: int, sets: list[tuple[int, ...]]) -> dict[int, int]:
    """Return the positions that the decoder recovers from each of some sets of workers."""
    given: dict[int, int] = {}
    held = chain(code.parameters(), code.buffers()) if isinstance(code, nn.Module) else ()
    device = next((value.device for value in held), None)
    at_once = max(1, MOST_NUMBERS // (code.n * width))
    for begin in range(0, len(sets), at_once):
        some = sets[begin : begin + at_once]
        arrived = torch.tensor([[worker in one for worker in range(code.n)] for one in some], device=device)
        decoded = code.decode(torch.zeros(len(some), code.n, width, device=device), arrived)
        for one, flags in zip(some, decoded.isfinite().all(dim=2).tolist(), strict=True):
            given[sum(1 << worker for worker in one)] = mask(flags)
    return given


def _smallest(sets: set[int]) -> list[tuple[int, ...]]:
    """Return the minimal sets: those that leave ``sets`` when any worker is removed."""
    members = {one: tuple(i for i in range(one.bit_length()) if one >> i & 1) for one in sets}
    return [members[one] for one in sorted(sets) if not any(one & ~(1 << i) in sets for i in members[one])]


def _united(sets: list[tuple[int, ...]]) -> tuple[Quorum, ...]:
    """Merge all sets of one size into one quorum if they are all subsets of that size."""
    quorums: list[Quorum] = []
    for need in sorted({len(one) for one in sets}):
        same = [one for one in sets if len(one) == need]
        workers = tuple(sorted({worker for one in same for worker in one}))
        if len(same) == comb(len(workers), need):
            quorums.append(Quorum(need, workers))
        else:
            quorums += [Quorum(need, one) for one in same]
    return tuple(quorums)
