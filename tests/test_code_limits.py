"""What a code cannot be is refused, and what it cannot rebuild is NaN."""

from collections.abc import Callable

import pytest
import torch

from parmtrain.codes import (
    Berrut,
    BerrutByzantine,
    Code,
    Concat,
    Corrected,
    Default,
    Heads,
    LearnedConvolution,
    LearnedMLP,
    Linear,
    MeanParity,
    NeRCC,
    Replication,
    Stack,
    Sum,
)
from parmtrain.errors import UnsupportedError
from tests.made_up_task import OUTPUTS, QUERY


@pytest.mark.parametrize(
    ("code", "late"),
    [
        (Sum(3), [0, 1]),
        (Sum(3), [0, 3]),
        (Stack(2), [1, 2]),
        (MeanParity(2), [0, 1]),
        (Linear(4, 2), [0, 1, 2]),
        (Linear(4, 2), [3, 4, 5]),
        (Heads(Concat(4)), [1, 2, 4]),
        (Corrected(Sum(3), OUTPUTS), [0, 1]),
        (Corrected(Sum(3), OUTPUTS), [0, 3]),
        (Replication(2), [0, 2]),
        (LearnedMLP(2, (1, 2, 2), OUTPUTS), [0, 1]),
        (NeRCC(3), [0, 1]),
        (Berrut(2), [0, 1, 2]),
    ],
    ids=lambda value: f"{value.name}-k{value.k}-r{value.r}" if isinstance(value, Code) else str(value),
)
def test_what_cannot_be_rebuilt_is_nan_and_the_rest_is_kept(code: Code, late: list[int]) -> None:
    outputs, arrived = torch.randn(1, code.n, code.heads * OUTPUTS), torch.ones(1, code.n, dtype=torch.bool)
    arrived[0, late] = False
    decoded = code.decode(outputs, arrived)
    for i in range(code.k):
        if code.systematic and i not in late:
            assert torch.equal(decoded[0, i], outputs[0, i, :OUTPUTS])
        else:
            assert decoded[0, i].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Sum(1), "k must be from 2 to 1000 queries in a coding group, got 1"),
        (lambda: Linear(0), "k must be from 2 to 1000 queries in a coding group, got 0"),
        (lambda: Concat(-2), "k must be from 2 to 1000 queries in a coding group, got -2"),
        (lambda: Berrut(1), "k must be from 2 to 1000 queries in a coding group, got 1"),
        (lambda: NeRCC(1), "k must be from 2 to 1000 queries in a coding group, got 1"),
        (lambda: BerrutByzantine(1), "k must be from 2 to 1000 queries in a coding group, got 1"),
        (lambda: Default(1, 3), "k must be from 2 to 1000 queries in a coding group, got 1"),
        (lambda: Sum(2, 2), "code=sum makes one parity query per group: r must be 1, got 2"),
        (lambda: Concat(2, 0), "code=concat makes one parity query per group: r must be 1, got 0"),
        (lambda: Stack(2, 3), "code=stack makes one parity query per group: r must be 1, got 3"),
        (lambda: MeanParity(2, 2), "code=mean_parity makes one parity query per group: r must be 1, got 2"),
        (lambda: Linear(2, 0), "r must be 1 or more extra workers per coding group, got 0"),
        (lambda: Berrut(2, -1), "r must be 1 or more extra workers per coding group, got -1"),
        (lambda: NeRCC(2, 0), "r must be 1 or more extra workers per coding group, got 0"),
        (lambda: LearnedMLP(2, QUERY, OUTPUTS, r=0), "r must be 1 or more extra workers per coding group, got 0"),
        (lambda: Default(2, 3, r=1), "code=default has no extra workers: r must be 0, got 1"),
        (lambda: Heads(Linear(2, 2)), "code=linear_heads reads one parity output: r must be 1, got 2"),
        (
            lambda: Corrected(Linear(3, 2), 4),
            "code=linear_corrected corrects one parity output: r must be 1, got 2",
        ),
        (lambda: Berrut(2, nodes="C"), "code.nodes must be A or B, got C"),
        (
            lambda: BerrutByzantine(2, r=1),
            "code=berrut_byzantine has 2k+2·errors+late−1 = 6 workers for k=2: r must be 4, got 1",
        ),
        (
            lambda: BerrutByzantine(2, errors=0),
            "code.errors must be 1 or more, got 0",
        ),
        (
            lambda: NeRCC(40, r=4),
            "code=nercc must have 20000 arrival patterns or fewer, got more for up to r=4 late workers among 44",
        ),
        (
            lambda: LearnedMLP(4, (3, 224, 224), 2),
            "code=learned_mlp must have fewer than 1 billion weights, got 453.2 billion for k=4 and queries",
        ),
        (
            lambda: LearnedConvolution(2, (9,), 2),
            "code=learned_convolution needs queries of shape [c, h, w] (images), got [9]",
        ),
    ],
)
def test_what_a_code_cannot_be_is_refused_with_a_sentence(build: Callable[[], Code], sentence: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        build()
    assert str(refused.value).startswith(sentence)
