"""The command line: ``parmtrain [COMMAND] [key=value …]``, or ``python -m parmtrain``."""

import sys

from parmtrain.arguments import VERSION
from parmtrain.command import DONE, FAILED, ending_quietly, say
from parmtrain.commands.table import COMMANDS, TRAIN, overview, run
from parmtrain.mistakes import did_you_mean

HELP = ("-h", "--help")


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run the command that the command line names, or train; return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    first = given[0] if given else ""
    if first in COMMANDS:
        return run(first, given[1:])
    if given == ["--version"]:
        print(VERSION)
        return DONE
    if first in HELP:
        if len(given) > 1:
            return run("help", given[1:])
        print(overview())
        return DONE
    if first and "=" not in first and first[0] not in "-~+":
        say(f"{first}: must be a command, one of {', '.join(COMMANDS)}, or key=value{did_you_mean(first, COMMANDS)}")
        return FAILED
    return run(TRAIN, given)


if __name__ == "__main__":
    sys.exit(main())
