"""The command line: ``python -m parmtrain.compare [--folder DIR] key=value[,value …] …``."""

import argparse
import logging
import sys

from parmtrain.errors import Interrupted, ParmtrainError


def main(arguments: list[str] | None = None) -> int:
    """Compare codes as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m parmtrain.compare",
        description="Compare codes on the same groups: train what needs it, reuse what is there, write one table.",
        epilog="Example: python -m parmtrain.compare task=digits k=2,4 code=all trainer.max_epochs=20",
    )
    parser.add_argument("overrides", nargs="*", help="as for python -m parmtrain -m; code=all stands for every code")
    parser.add_argument(
        "--folder", default="comparison", help="where runs and table are kept; the same command goes on there"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("parmtrain.compare").setLevel(logging.INFO)
    from rich.console import Console

    from parmtrain.compare.study import compare
    from parmtrain.compare.table import to_print

    try:
        rows = compare(given.overrides, given.folder)
    except (KeyboardInterrupt, Interrupted):
        print("stopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except ParmtrainError as fault:
        print(fault, file=sys.stderr)
        return 1
    Console().print(to_print(rows))
    print(f"in {given.folder}: table.md, table.csv, codes.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
