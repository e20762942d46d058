"""The commands: where each is, what it does, an example, and what it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

from parmtrain.command import stopping_at_once

TRAIN = "train"


@dataclass(frozen=True)
class Command:
    """A command: where its ``main`` is, what it does, and an example of its arguments.

    Args:
        module: The module of its ``main``.
        does: What it does.
        example: An example of its arguments.
        settings: Where the dataclass of its settings is, as ``module:Class``, by the option that asks for it; empty for
            a command without settings.
    """

    module: str
    does: str
    example: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def settings_under(self, words: Sequence[str]) -> str | None:
        """Return where the settings are that a command line of these words takes; None if it takes none.

        Example:
            >>> COMMANDS["serve"].settings_under(["--instance", "port=9000"])
            'parmtrain.serving.instances.model_server:InstanceSettings'
        """
        option = next((one for one in self.settings if one and one in words), "")
        return self.settings.get(option)

    def settings_class(self, option: str = "") -> type[Any]:
        """Import the dataclass of its settings, under an option or without one, which can take seconds.

        Example:
            >>> COMMANDS["adapt"].settings_class()
            <class 'parmtrain.adapt.AdaptSettings'>
        """
        kind: type[Any] = resolve_name(self.settings[option])
        return kind


COMMANDS = {
    TRAIN: Command("parmtrain.train", "train, evaluate and export a parity model (the default)", "task=cifar10 k=2"),
    "compare": Command(
        "parmtrain.compare.__main__", "train several codes on the same groups, one table", "task=digits k=2,4 code=all"
    ),
    "evaluate": Command("parmtrain.evaluate", "score an exported bundle again", "runs/mine"),
    "export": Command("parmtrain.export", "export a run in several formats, and score each", "runs/mine formats=onnx"),
    "serve": Command(
        "parmtrain.serve",
        "serve a bundle before a fleet, or on Ray",
        "bundle=runs/mine fleet=fleet.yaml",
        {
            "": "parmtrain.serving.settings:ServeSettings",
            "--instance": "parmtrain.serving.instances.model_server:InstanceSettings",
            "--curve": "parmtrain.serving.instances.curve:CurveSettings",
        },
    ),
    "adapt": Command(
        "parmtrain.adapt",
        "have parity models follow what is served",
        "bundle=runs/mine versions=versions keep=kept",
        {"": "parmtrain.adapt:AdaptSettings"},
    ),
    "simulate": Command(
        "parmtrain.simulate",
        "simulate services, coded and not, and their tails",
        "k=2 slow=0.01",
        {"": "parmtrain.simulate:SimulationSettings"},
    ),
    "advise": Command(
        "parmtrain.advise",
        "say which code to deploy",
        "results=comparison/table.csv",
        {"": "parmtrain.advise:AdviceSettings"},
    ),
    "list": Command("parmtrain.commands.listing", "list codes, tasks, losses, models and other options", "codes"),
    "check": Command(
        "parmtrain.commands.checking", "find the faults of a configuration without running it", "task=mnist"
    ),
    "help": Command("parmtrain.commands.explaining", "explain a command, a key or an option", "trainer.max_epochs"),
    "completion": Command("parmtrain.commands.completing", "print what completes commands in a shell", "bash"),
}
"""The commands by name."""


def run(name: str, arguments: list[str]) -> int:
    """Import a command and run it; return its exit status."""
    with stopping_at_once():
        module = import_module(COMMANDS[name].module)
    status: int = module.main(arguments)
    return status


def overview() -> str:
    """Return the text of ``parmtrain --help``.

    Example:
        >>> print(overview().splitlines()[0])
        parmtrain [COMMAND] [key=value …]: coded resilience for neural-network inference
    """
    lines = ["parmtrain [COMMAND] [key=value …]: coded resilience for neural-network inference", ""]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<12}{command.does}", f"  {'':<12}  parmtrain {name} {command.example}"]
    return "\n".join(
        [
            *lines,
            "",
            "parmtrain COMMAND --help says what a command takes, parmtrain help KEY what a key of a run means, and",
            "parmtrain list tasks which tasks there are: cifar10, speech_commands, … Without a command, a run is",
            "trained: parmtrain task=digits k=2. Each command is also python -m parmtrain COMMAND.",
        ]
    )
