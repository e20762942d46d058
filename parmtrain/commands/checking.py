"""Find the faults of a configuration without running it: ``parmtrain check [key=value …]``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from parmtrain.arguments import Arguments
from parmtrain.command import ending_quietly, exit_status

RUN_DIR, UNUSED = "hydra.run.dir=", "runs/of-no-run"


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Check the configuration that the command line asks for; return the exit status."""
    parser = Arguments(
        "check",
        "Find every fault of a configuration, as a run would, without training, downloading or writing.",
        example="task=cifar10 deployed.path=mine.pt k=3",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for parmtrain train")
    parser.add_config_dir()
    given = parser.read(arguments)
    return exit_status(lambda: print(checked(given.overrides, given.config_dir)))


def checked(overrides: Sequence[str], config_dir: str | None = None) -> str:
    """Return a sentence about a configuration that can run.

    Raises:
        ConfigError: With every fault of the configuration.
        DataError: If its data is missing and cannot be downloaded.
        DeployedModelError: If the deployed model cannot be read or does not fit the task.

    Example:
        >>> checked(["task=digits", "k=3"]).partition(";")[0]
        'task=digits k=3: no fault'
    """
    from parmtrain.config.check import check, require_no_faults, unknown_keys
    from parmtrain.config.compose import compose
    from parmtrain.config.overrides import require_once
    from parmtrain.errors import ConfigError, MissingDataError
    from parmtrain.prepared import Prepared
    from parmtrain.run_folder import RunFolder
    from parmtrain.training.fit import quiet

    quiet()
    require_once(overrides)
    place = next((one.removeprefix(RUN_DIR) for one in overrides if one.startswith(RUN_DIR)), UNUSED)
    if not place:
        raise ConfigError(["hydra.run.dir must be a folder, got an empty one"])
    cfg = compose(*(one for one in overrides if not one.startswith(RUN_DIR)), config_dir=config_dir)
    require_no_faults(unknown_keys(cfg))
    require_no_faults(check(cfg, RunFolder(Path(place))))
    prepared, data = Prepared(cfg), "its data is there"
    try:
        prepared.task.source.locate()
    except MissingDataError:
        if not cfg.data.download:
            raise
        data = "its data would be downloaded, if it can be"
    model = "a deployed model would be trained, or taken from the cache"
    if not prepared.trains_deployed:
        model = f"the deployed model in {cfg.deployed.path} answers its queries"
        _ = prepared.deployed
    return f"task={cfg.task.name} k={cfg.k}: no fault; {data}; {model}"


if __name__ == "__main__":
    sys.exit(main())
