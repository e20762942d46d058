"""Agreement with the deployed model by kind of prediction, for whoever knows no task."""

from parmtrain.metrics import boxes, embeddings
from parmtrain.metrics.functional import agree
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES, Measure

KNOWN: dict[str, Measure] = {
    CLASS_SCORES: agree,
    PROBABILITIES: agree,
    boxes.BOXES: boxes.MEASURES.agreement,
    embeddings.EMBEDDINGS: embeddings.MEASURES.agreement,
}


def agreement_of(kind: str | None) -> Measure | None:
    """Return the agreement of predictions of a kind with the deployed model's own; None for kinds that are not known.

    Example:
        >>> import torch
        >>> agreement_of("class scores")(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 9.0]))
        tensor(1.)
        >>> agreement_of("poems")
    """
    return KNOWN.get(kind or "")
