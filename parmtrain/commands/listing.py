"""What there is to choose from: ``parmtrain list [codes | tasks | losses | models | GROUP]``."""

import sys
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from parmtrain.arguments import Arguments
from parmtrain.command import Terminal, ending_quietly, exit_status
from parmtrain.config.comments import groups, options_of, sentence
from parmtrain.config.folder import require_folder
from parmtrain.errors import ConfigError
from parmtrain.mistakes import did_you_mean

IRREGULAR = {"losses": "loss"}


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """List what the command line asks for; return the exit status."""
    parser = Arguments(
        "list",
        "List the options of groups, each with the first sentence of its YAML file; without a group, all "
        "groups. An option is key=value on the command line, as in code=lowres.",
        example="codes tasks",
    )
    parser.add_argument("groups", metavar="GROUP", nargs="*", help="codes, tasks, losses, models or another group")
    parser.add_config_dir()
    given = parser.read(arguments)
    return exit_status(lambda: show(given.groups, given.config_dir))


def show(names: list[str], config_dir: str | None) -> None:
    """Print one table for each group.

    Raises:
        ConfigError: If there is no such group.
    """
    require_folder(config_dir)
    known = groups(config_dir)
    chosen = [group_named(name, known) for name in names]
    terminal = Terminal(wide=True)
    if not chosen:
        table = Table("group", "options", title="parmtrain list GROUP")
        for group in known:
            table.add_row(group, ", ".join(options_of(group, config_dir)))
        terminal.print(table)
    for group in chosen:
        table = Table(group, "", title=f"{group}=…")
        for option, path in options_of(group, config_dir).items():
            table.add_row(option, escape(sentence(path)))
        terminal.print(table)


def group_named(name: str, known: Sequence[str]) -> str:
    """Return the group that a name or its plural means.

    Raises:
        ConfigError: If there is none.

    Example:
        >>> group_named("codes", ["code", "loss"]), group_named("losses", ["code", "loss"])
        ('code', 'loss')
    """
    group = IRREGULAR.get(name, name)
    group = group if group in known else group.removesuffix("s")
    if group not in known:
        meant = did_you_mean(name, [*known, *IRREGULAR])
        raise ConfigError([f"{name}: must be a group of options, one of {', '.join(known)}{meant}"])
    return group


if __name__ == "__main__":
    sys.exit(main())
