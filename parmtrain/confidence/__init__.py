"""Confidence in reconstructed predictions: how likely each agrees with the deployed model, and what may be promised."""

from parmtrain.confidence.base import Confidence
from parmtrain.confidence.expected import Expected
from parmtrain.confidence.kinds import by_kind
from parmtrain.confidence.promises import Promises, promised_agreement, promised_risk
from parmtrain.confidence.softmax import Softmax

__all__ = ["Confidence", "Expected", "Promises", "Softmax", "by_kind", "promised_agreement", "promised_risk"]
