"""The heart of the flow: what is known of a batch of coding groups once its coded queries have been run."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from parmtrain.codes import Code, decode_each


@dataclass(frozen=True)
class CodedGroups:
    """What is known of a batch of coding groups once its coded queries have been run.

    A code is trained for several cases of who arrives; together, m predictions of a group are missing in them.

    Args:
        code: The code of the groups.
        predictions: The deployed model's own predictions ``[g, k, c]``.
        parity: Outputs for the coded queries ``[g, coded, c]``.
        labels: True labels ``[g, k]``.
    """

    code: Code
    predictions: Tensor
    parity: Tensor
    labels: Tensor

    @cached_property
    def target(self) -> Tensor:
        """What the parity models ought to output ``[g, coded, c]``."""
        return self.code.target(self.predictions)

    @cached_property
    def reconstructed(self) -> Tensor:
        """Every prediction that is missing in some case, as it is decoded there ``[g, m, c]``."""
        outputs = self.code.gather(self.predictions, self.parity)
        decoded = decode_each(self.code.decode, outputs, self.code.erasures)
        case, query = self._missing
        return decoded[:, case, query]

    @property
    def own(self) -> Tensor:
        """The deployed model's own predictions in the place of those ``[g, m, c]``."""
        return self.predictions[:, self._missing[1]]

    @property
    def own_labels(self) -> Tensor:
        """Their labels ``[g, m]``."""
        return self.labels[:, self._missing[1]]

    @cached_property
    def _missing(self) -> tuple[Tensor, Tensor]:
        late = ~self.code.erasures[:, : self.code.k]
        case, query = late.nonzero().to(self.predictions.device).unbind(dim=1)
        return case, query
