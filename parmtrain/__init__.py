"""parmtrain: coded resilience for neural-network inference.

>>> import parmtrain
>>> cfg = parmtrain.compose("task=digits", "k=3")
>>> cfg.k
3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parmtrain.bundle import Bundle, load
    from parmtrain.codes import Code
    from parmtrain.config.compose import compose
    from parmtrain.deployed import DeployedModel
    from parmtrain.errors import ParmtrainError
    from parmtrain.evaluation.score import score
    from parmtrain.result import Result
    from parmtrain.runs import run
    from parmtrain.training.parity_module import ParityModule

__version__ = "0.2.0"

_HOMES = {
    "Bundle": "parmtrain.bundle",
    "Code": "parmtrain.codes",
    "DeployedModel": "parmtrain.deployed",
    "ParityModule": "parmtrain.training.parity_module",
    "ParmtrainError": "parmtrain.errors",
    "Result": "parmtrain.result",
    "compose": "parmtrain.config.compose",
    "load": "parmtrain.bundle",
    "run": "parmtrain.runs",
    "score": "parmtrain.evaluation.score",
}
__all__ = [
    "Bundle",
    "Code",
    "DeployedModel",
    "ParityModule",
    "ParmtrainError",
    "Result",
    "compose",
    "load",
    "run",
    "score",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so ``--help`` does not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
