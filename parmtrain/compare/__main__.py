"""The command line: ``parmtrain compare [--folder DIR] [--config-dir DIR] key=value[,value …] …``."""

import sys
from pathlib import Path

from parmtrain.arguments import Arguments
from parmtrain.command import Terminal, ending_quietly, exit_status, log_to_terminal


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Compare the codes that the command line asks for; return the exit status."""
    parser = Arguments(
        "compare",
        "Compare codes on the same groups: train what is missing, reuse finished runs, write one table.",
        example="task=digits k=2,4 code=all trainer.max_epochs=20",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        help="as for parmtrain -m; code=all stands for every code; budget.flops=…, budget.bytes=… and "
        "budget.dispatches=… (1.05, 1 and 1) bound what a group may take beyond F for its queries, as the table rounds "
        "it, and the best code within them is named",
    )
    parser.add_argument(
        "--folder",
        help="folder of the runs and the table, by default comparison; the same command resumes there",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="train nothing, and gather the finished runs under this folder, such as that of a multirun, into a table",
    )
    parser.add_config_dir()
    parser.add_argument("-m", "--multirun", action="store_true", help="what every comparison is, so it changes nothing")
    given = parser.read(arguments)
    log_to_terminal()

    def work() -> None:
        from parmtrain.compare.gathering import gather
        from parmtrain.compare.plan import require_folder_name
        from parmtrain.compare.study import compare
        from parmtrain.compare.table import to_print
        from parmtrain.config.overrides import require_once
        from parmtrain.outputs import COMPARISON

        require_once(given.overrides)
        folder = next((one for one in (given.folder, given.source) if one is not None), "comparison")
        require_folder_name(folder, given.config_dir)
        if given.source is not None:
            rows = gather(given.source, given.overrides, folder)
        else:
            rows = compare(given.overrides, folder, given.config_dir)
        Terminal().print(to_print(rows))
        print(f"in {folder}: {', '.join(COMPARISON.there(Path(folder)))}")

    return exit_status(work, stopped="stopped; run the same command again to resume")


if __name__ == "__main__":
    sys.exit(main())
