"""The commands: where each is, what it does, and an example."""

from dataclasses import dataclass

TRAIN = "train"


@dataclass(frozen=True)
class Command:
    """A command: where its ``main`` is, what it does, and an example of its arguments."""

    module: str
    does: str
    example: str


COMMANDS = {
    TRAIN: Command("parmtrain.train", "train, evaluate and export a parity model (the default)", "task=cifar10 k=2"),
    "compare": Command(
        "parmtrain.compare.__main__", "train several codes on the same groups, one table", "task=digits k=2,4 code=all"
    ),
    "evaluate": Command("parmtrain.evaluate", "score an exported bundle again", "runs/mine"),
    "export": Command("parmtrain.export", "export a run in several formats, and score each", "runs/mine formats=onnx"),
    "serve": Command(
        "parmtrain.serve", "serve a bundle before a fleet, or on Ray", "bundle=runs/mine fleet=fleet.yaml"
    ),
    "adapt": Command(
        "parmtrain.adapt", "have parity models follow what is served", "bundle=runs/mine versions=versions keep=kept"
    ),
    "simulate": Command("parmtrain.simulate", "simulate services, coded and not, and their tails", "k=2 slow=0.01"),
    "advise": Command("parmtrain.advise", "say which code to deploy", "results=comparison/table.csv"),
    "list": Command("parmtrain.commands.listing", "list codes, tasks, losses, models and other options", "codes"),
    "check": Command(
        "parmtrain.commands.checking", "find the faults of a configuration without running it", "task=mnist"
    ),
    "help": Command("parmtrain.commands.explaining", "explain a key or an option", "trainer.max_epochs"),
    "completion": Command("parmtrain.commands.completing", "print what completes commands in a shell", "bash"),
}
"""The commands by name."""


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
