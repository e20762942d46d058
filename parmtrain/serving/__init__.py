"""Serving with parity models: one frontend, run by Ray Serve or by a simulator."""

from parmtrain.codes.scheme import Scheme, backed_up, erasure_code, heads_code, scheme_of, uncoded
from parmtrain.serving.frontend.events import Answer, Dispatch, Kind, Overloaded, Restart
from parmtrain.serving.frontend.limits import Limits
from parmtrain.serving.frontend.machine import Frontend

__all__ = [
    "Answer",
    "Dispatch",
    "Frontend",
    "Kind",
    "Limits",
    "Overloaded",
    "Restart",
    "Scheme",
    "backed_up",
    "erasure_code",
    "heads_code",
    "scheme_of",
    "uncoded",
]
