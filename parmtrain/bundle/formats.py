"""Export formats: how one part of a bundle is written to a file, and how that file is loaded as a callable."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from parmtrain.errors import ExportError, reason_of

Program = Callable[..., Tensor]
"""Maps the inputs of an encoder, a model or a decoder to its output."""


@runtime_checkable
class ExportFormat(Protocol):
    """A format for exporting encoders, parity models, decoders and deployed models.

    ``bundle.json`` names the class of the format; loading the bundle calls it without arguments. A new format is one
    class with these three members, and one YAML file in the group ``export``. A format that writes parity models in
    another way than the other parts has a further member ``of_parity_models``, a format; one whose programs give other
    numbers than their modules, since they round, has a member ``rounds``, which is true.

    Attributes:
        suffix: Suffix of its file names, such as ``.ts``.
    """

    suffix: str

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Write one part.

        Args:
            part: A module in evaluation mode, on the CPU.
            example: Its inputs, batch first; programs must accept any other batch size, too.
            path: The file to write, which does not exist yet.

        Raises:
            ExportError: If the part cannot be written in this format.
        """

    def load(self, path: Path) -> Program:
        """Read a part back onto the CPU, as something that ``parmtrain.programs.pack`` can send to another process."""


def for_parity_models(format: ExportFormat) -> ExportFormat:
    """Return how a format writes parity models."""
    own: ExportFormat = getattr(format, "of_parity_models", format)
    return own


def rounds(format: ExportFormat) -> bool:
    """Return whether parity models in a format give other numbers than their modules."""
    return bool(getattr(for_parity_models(format), "rounds", False))


def name_of(format: ExportFormat) -> str:
    """Return the dotted name of a format's class, as ``format_named`` takes it.

    Example:
        >>> from parmtrain.bundle.torchscript import TorchScript
        >>> name_of(TorchScript()), format_named(name_of(TorchScript())).suffix
        ('parmtrain.bundle.torchscript.TorchScript', '.ts')
    """
    return f"{type(format).__module__}.{type(format).__qualname__}"


def format_named(name: str) -> ExportFormat:
    """Return an export format, given the dotted name of its class.

    Raises:
        ExportError: If the name cannot be imported, or is not an export format.
    """
    try:
        found = resolve_name(name)
    except Exception as fault:  # an import can raise anything
        raise ExportError(
            f"the bundle's export format must be importable, got {name} ({reason_of(fault)}); install the package "
            "that defines it"
        ) from fault
    if not isinstance(found, type) or not all(hasattr(found, member) for member in ("suffix", "save", "load")):
        raise ExportError(f"the bundle's export format must be a class with suffix, save and load, got {name}")
    try:
        made: ExportFormat = found()
    except TypeError as fault:
        raise ExportError(f"the export format {name} must need no arguments: {reason_of(fault)}") from fault
    return made
