"""Codes whose extra workers run every query of a group by itself, a batch of queries each."""

from typing import Protocol

import torch
from torch import Tensor, nn

from parmtrain.codes.base import FreshModel, require_k
from parmtrain.codes.heads import HeadsDecoder, SeparatePredictions
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError, reason_of
from parmtrain.flops import flops, widest

SLACK = 1.05  # FLOPs of a model ÷ the budget


class BatchEncoder(nn.Module):
    """Share the k queries of a group among r workers, k ÷ r for each, as they are.

    Args:
        r: Extra workers.

    Example:
        >>> BatchEncoder(r=1)(torch.rand(5, 4, 3, 32, 32)).shape, BatchEncoder(r=4)(torch.rand(5, 4, 3, 32, 32)).shape
        (torch.Size([5, 1, 4, 3, 32, 32]), torch.Size([5, 4, 3, 32, 32]))
    """

    def __init__(self, r: int) -> None:
        super().__init__()
        self.r = r

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[g, k, *query]`` to batches ``[g, r, k/r, *query]``, or to themselves for r = k."""
        if queries.size(1) == self.r:
            return queries
        batches: Tensor = queries.unflatten(1, (self.r, queries.size(1) // self.r))
        return batches


class EachQuery(nn.Module):
    """Run a network for single queries on batches of them.

    Args:
        network: Maps queries ``[b, *query]`` to predictions ``[b, c]``.

    Example:
        >>> EachQuery(nn.Linear(4, 3))(torch.rand(5, 2, 4)).shape
        torch.Size([5, 6])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batches: Tensor) -> Tensor:
        """Map batches ``[b, s, *query]`` to their predictions, one after the other ``[b, s·c]``."""
        predictions: Tensor = self.network(batches.flatten(0, 1))
        return predictions.reshape(batches.size(0), batches.size(1) * predictions.size(1))


class StudentModel(Protocol):
    """Builds an untrained model for single queries."""

    def __call__(self, *, query_shape: list[int], outputs: int) -> nn.Module:
        """Return a model that maps queries ``[b, *query_shape]`` to ``[b, outputs]``; it may also take a width."""


class BatchCode(SeparatePredictions):
    """A code whose r extra workers run k ÷ r queries each, one by one, on a model that is cheaper than F.

    The model is a *student*: it is trained toward the predictions of the deployed model. Any number of late predictions
    comes back, and no query affects another's answer.

    Args:
        k: Queries in a coding group, 2 or more.
        encoder: Encoder, as for ``Code``.
        model: Builds the student; None for the architecture of the parity model, by default the deployed model's.
        flops: Budget: FLOPs of the extra workers for one group ÷ those of one run of F. The student is as wide as it
            allows; None leaves the model as it is.
        r: Extra workers per group, a divisor of k; 1 by default.

    Raises:
        UnsupportedError: If r does not divide k, or no student fits the budget.
    """

    independent = True

    def __init__(self, k: int, encoder: nn.Module, model: StudentModel | None, flops: float | None, r: int) -> None:
        super().__init__(k, r, encoder, HeadsDecoder(k, r))
        self.model, self.flops, self.share = model, flops, k // r
        self.heads = self.share

    @property
    def stragglers(self) -> int:
        """1, since a second straggler may be the extra worker that runs the same query."""
        return 1

    def student_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one query of the student."""
        return query_shape

    def parity_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the queries that one extra worker runs."""
        shape = self.student_shape(query_shape)
        return shape if self.share == 1 else (self.share, *shape)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the student, which runs all queries."""
        student = self._student(self.student_shape(query_shape), self._most(query_shape, deployed), fresh)
        return [student if self.share == 1 else EachQuery(student)]

    def _most(self, query_shape: tuple[int, ...], deployed: DeployedModel) -> float | None:
        """Return how many FLOPs the student may take for one query."""
        if self.flops is None:
            return None
        one_run = deployed.flops(query_shape)
        if not one_run:
            raise UnsupportedError(
                f"code={self.name} with code.flops={self.flops} needs a deployed model whose FLOPs can be counted, got "
                "one without matrix products and convolutions of PyTorch; state them with deployed.flops=…, or set "
                "code.flops=null, and the size of the model with code.model.width=…"
            )
        return self.flops * one_run / self.k

    def _student(self, shape: tuple[int, ...], most: float | None, fresh: FreshModel) -> nn.Module:
        model, name = self.model, f"code={self.name} with code.flops={self.flops}"
        if model is not None and most is not None:
            set_to = getattr(model, "keywords", {}).get("width", 1.0)
            if set_to != 1.0:
                raise UnsupportedError(
                    f"{name} sets the width of the student: code.model.width must be 1.0, got {set_to}"
                )
            return widest(lambda width: fresh(shape, model=model, width=width), shape, most, name)
        student = fresh(shape, model=model)
        one = self._one_run(student, shape)
        if most is not None and one > SLACK * most:
            raise UnsupportedError(
                f"{name} leaves {most:,.0f} FLOPs for a query, got a parity model that takes {one:,}; choose a student "
                "with model@code.model=student"
            )
        return student.train()

    def _one_run(self, student: nn.Module, shape: tuple[int, ...]) -> int:
        """Return the FLOPs that a student takes for one query ``[*shape]``."""
        try:
            return flops(student.eval(), torch.zeros(1, *shape))
        except Exception as fault:  # a model can raise anything
            raise UnsupportedError(
                f"code={self.name} runs a student on queries of shape {list(shape)}, got one that raised: "
                f"{reason_of(fault)}; give an architecture for this shape with parity.model=…, or choose a "
                "student with model@code.model=student"
            ) from fault


def require_divisor(name: str, r: int | None, k: int) -> int:
    """Return the number of extra workers that share k queries evenly; 1 by default.

    Raises:
        UnsupportedError: If it does not divide k.

    Example:
        >>> require_divisor("backup", None, 4), require_divisor("backup", 2, 4)
        (1, 2)
    """
    right = 1 if r is None else r
    if not isinstance(right, int) or right < 1 or require_k(k) % right:
        raise UnsupportedError(f"code={name} shares k={k} queries evenly: r must divide k, got {r}")
    return right
