"""Drive a frontend by hand: predictions that it asks for are decoded at once."""

from typing import Any

from parmtrain.serving import Frontend
from parmtrain.serving.frontend.events import Action, Decode


def decoded(frontend: Frontend, now: float, actions: list[Action], confidence: float = 1.0) -> list[Any]:
    """Return actions and, in place of each prediction that is to be decoded, what comes of it.

    The prediction is the outputs that it was decoded from.
    """
    every: list[Any] = []
    for action in actions:
        if isinstance(action, Decode):
            after = frontend.decoded(now, action, action.outputs, confidence)
            every += decoded(frontend, now, after, confidence)
        else:
            every.append(action)
    return every
