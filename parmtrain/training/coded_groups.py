"""A batch of coding groups after its coded queries have run: the input of every loss."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from parmtrain.codes import Code, decode_each
from parmtrain.errors import UnsupportedError
from parmtrain.metrics.measures import CLASS_SCORES
from parmtrain.tasks.queries import are_labels


@dataclass(frozen=True)
class CodedGroups:
    """A batch of coding groups after its coded queries have run.

    A code is trained for p erasure patterns; over all of them, m predictions of a group are missing.

    Args:
        code: The code of the groups.
        predictions: The deployed model's own predictions ``[g, k, c]``.
        parity: Outputs of the coded queries ``[g, coded, c]``.
        labels: True labels ``[g, k]`` or ``[g, k, l]``.
        kind: Kind of prediction, as in ``Measures.kind``.
        present: Queries of each group that count; zeros stand for the others. None for all k.
        hidden: Hidden features of the deployed model ``[g, k, d]``, for losses that compare them.
        parity_hidden: Those of the parity models: ``[g, k, d']``, or ``[g, d']`` where they are of all queries at once.
    """

    code: Code
    predictions: Tensor
    parity: Tensor
    labels: Tensor
    kind: str = CLASS_SCORES
    present: int | None = None
    hidden: Tensor | None = None
    parity_hidden: Tensor | None = None

    @cached_property
    def target(self) -> Tensor:
        """Target of the parity models ``[g, coded, c]``.

        Raises:
            UnsupportedError: If queries are absent, which have no prediction.
        """
        if self.present is not None:
            raise UnsupportedError("partial=true needs a loss that compares reconstructed predictions, such as loss=kl")
        return self.code.target(self.predictions)

    @cached_property
    def decoded(self) -> Tensor:
        """Decoded predictions in each erasure pattern that the code is trained for ``[g, p, k, c]``."""
        outputs = self.code.gather(self.predictions, self.parity)
        return decode_each(self.code.decode, outputs, self.code.erasures)

    @cached_property
    def reconstructed(self) -> Tensor:
        """Reconstructed predictions: each missing one, as decoded in its erasure pattern ``[g, m, c]``."""
        case, query = self._missing
        return self.decoded[:, case, query]

    @property
    def own(self) -> Tensor:
        """The deployed model's own predictions for the same queries ``[g, m, c]``."""
        return self.predictions[:, self._missing[1]]

    @property
    def own_labels(self) -> Tensor:
        """Labels of the same queries ``[g, m]`` or ``[g, m, l]``.

        Raises:
            UnsupportedError: If there are none.
        """
        if not are_labels(self.labels):
            raise UnsupportedError(
                "this loss compares with labels, and these queries have none; use one that compares with the deployed "
                "model's predictions, such as loss=kl or loss=decoded_mse"
            )
        return self.labels[:, self._missing[1]]

    def require_kind(self, loss: str, kind: str, others: str) -> None:
        """Raise an ``UnsupportedError`` unless predictions are of the kind that a loss compares.

        Args:
            loss: Name of the loss.
            kind: Kind of prediction that it compares.
            others: Losses for other kinds.
        """
        if self.kind != kind:
            raise UnsupportedError(f"loss={loss} compares {kind}, and this task predicts {self.kind}; use {others}")

    @cached_property
    def _missing(self) -> tuple[Tensor, Tensor]:
        case, query = self.code.missing.nonzero().to(self.predictions.device).unbind(dim=1)
        there = query < (self.code.k if self.present is None else self.present)
        return case[there], query[there]
