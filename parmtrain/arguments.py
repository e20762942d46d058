"""Arguments of the commands that are not settings alone: what all of them have is written once."""

import argparse
from collections.abc import Sequence

from parmtrain import __version__

VERSION = f"parmtrain {__version__}"


class Arguments(argparse.ArgumentParser):
    """Parse the arguments of a command, with ``--help``, which ends with an example, and ``--version``.

    Args:
        command: Its name.
        does: What it does, in a sentence.
        example: An example of its arguments.

    Example:
        >>> arguments = Arguments("list", "List the options of groups.", example="codes tasks")
        >>> arguments.format_help().splitlines()[-1]
        'Example: parmtrain list codes tasks'
    """

    def __init__(self, command: str, does: str, example: str) -> None:
        prog = f"parmtrain {command}"
        super().__init__(prog=prog, description=does, epilog=f"Example: {prog} {example}")
        self.add_argument("--version", action="version", version=VERSION)

    def add_config_dir(self, holds: str = "YAML files of your own") -> None:
        """Take ``--config-dir``, a folder that holds something of the user's own."""
        self.add_argument("--config-dir", help=f"a folder with {holds}")

    def add_settings(self, help: str) -> None:
        """Take ``key=value`` arguments, none or more."""
        # Without a default, argparse names them among what is missing.
        self.add_argument("settings", metavar="key=value", nargs="*", default=[], help=help)

    def read(self, given: Sequence[str] | None) -> argparse.Namespace:
        """Return arguments, between which options may stand; None for those of the process."""
        return self.parse_intermixed_args(given)
