"""What of a network's output is the prediction: one of several tensors, and without axes of length one."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parmtrain.deployed import freeze
from parmtrain.errors import DeployedModelError
from parmtrain.programs import Around, Network

LISTED = 6


class Answer(Around):
    """A network whose output is one prediction ``[b, c]``.

    Args:
        network: Returns a tensor, or a tuple, list, mapping or object with tensors.
        output: Which of them: a number, a key or an attribute; None for a tensor.

    Example:
        >>> Answer(nn.LSTM(4, 3), output=0)(torch.rand(5, 4)).shape
        torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module, output: int | str | None) -> None:
        super().__init__(network)
        self.output = output

    def forward(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, c]``."""
        prediction: Tensor = _flat(part_of(self.network(queries), self.output))
        return prediction


class FunctionAnswer:
    """A function whose output is one prediction; as ``Answer`` is for modules.

    Args:
        function: Returns what ``Answer`` takes.
        output: As for ``Answer``.
    """

    def __init__(self, function: Network, output: int | str | None) -> None:
        self.function, self.output = function, output

    def __call__(self, queries: Tensor) -> Tensor:
        """Map queries ``[b, *query]`` to predictions ``[b, c]``."""
        prediction: Tensor = _flat(part_of(self.function(queries), self.output))
        return prediction


def answering(
    network: Network, output: int | str | None, queries: Tensor, name: str, outputs: int | None = None
) -> Network:
    """Return a network whose output is the prediction: the one given, or one that takes it from what that returns.

    Args:
        network: A module or a function.
        output: Which part of its output, as for ``Answer``; None for the only one that is as long as a prediction.
        queries: Queries that it takes, to try it ``[b, *query]``.
        name: Its name in error messages.
        outputs: Length of one prediction, if it is known.

    Raises:
        DeployedModelError: If its output has no such part, or has several that may be it and none is named.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> answering(network, None, torch.rand(2, 4), "F") is network
        True
        >>> answering(nn.LSTM(4, 3), None, torch.rand(2, 4), "F")
        Traceback (most recent call last):
        ...
        parmtrain.errors.DeployedModelError: F returns a tuple of 0 [2, 3] and 1 (a tuple); name one: deployed.output=0
    """
    if isinstance(network, nn.Module):
        freeze(network)
    try:
        with torch.no_grad():
            given = network(queries)
    except Exception:  # whatever it raises is reported where its predictions are checked
        return network
    if output is None and not isinstance(given, Tensor) and _parts(given):
        parts = _parts(given)
        fitting = [key for key, part in parts.items() if outputs is not None and _fits(part, len(queries), outputs)]
        if len(fitting) == 1:
            return answering(network, fitting[0], queries, name)
        listed = " and ".join([f"{key} {_about(part)}" for key, part in list(parts.items())[:LISTED]])
        first = next((key for key in [*fitting, *parts] if isinstance(parts[key], Tensor)), next(iter(parts)))
        raise DeployedModelError(
            f"{name} returns a {type(given).__name__} of {listed}; name one: deployed.output={first}"
        )
    try:
        part = part_of(given, output)
    except (KeyError, IndexError, AttributeError, TypeError):
        held = ", ".join(map(str, list(_parts(given))[:LISTED])) or f"a {type(given).__name__} alone"
        raise DeployedModelError(f"{name} must return an output {output} (deployed.output), got {held}") from None
    if output is None and (not isinstance(part, Tensor) or part.dim() <= 2):
        return network
    return Answer(network, output) if isinstance(network, nn.Module) else FunctionAnswer(network, output)


def output_of(network: Network) -> int | str | None:
    """Return which part of its output a network of ``answering`` takes; None for one that is taken as it is.

    Example:
        >>> output_of(Answer(nn.LSTM(4, 3), output=0)), output_of(nn.Linear(4, 3))
        (0, None)
    """
    return network.output if isinstance(network, Answer | FunctionAnswer) else None


def _parts(given: Any) -> dict[int | str, Any]:
    """Return the parts of an output by key, number or attribute; none for a tensor."""
    if isinstance(given, Mapping):
        return {str(key): part for key, part in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return dict(enumerate(given))
    return {} if isinstance(given, Tensor) else dict(getattr(given, "__dict__", {}))


def part_of(given: Any, output: int | str | None) -> Any:
    """Return the part of a network's output that a number, a key or an attribute names.

    Raises:
        AttributeError, IndexError, KeyError, TypeError: If it has no such part.
    """
    if output is None:
        return given
    if isinstance(given, Tensor) or isinstance(output, bool):
        raise TypeError
    if isinstance(given, Mapping):
        return given[output] if output in given else given[str(output)]
    return getattr(given, output) if isinstance(output, str) else given[output]


def _fits(part: Any, queries: int, outputs: int) -> bool:
    """Return whether a part of an output may be the predictions on so many queries."""
    return isinstance(part, Tensor) and _flat(part).shape == (queries, outputs)


def _flat(prediction: Any) -> Any:
    """Return a prediction without axes of length one after the first, where one longer axis is left ``[b, c]``."""
    if (
        isinstance(prediction, Tensor)
        and prediction.dim() > 2
        and len(prediction)
        and max(prediction.shape[1:]) == prediction[0].numel()
    ):
        return prediction.flatten(1)
    return prediction


def _about(part: Any) -> str:
    return str(list(part.shape)) if isinstance(part, Tensor) else f"(a {type(part).__name__})"
