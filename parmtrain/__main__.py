"""The command line: ``python -m parmtrain [key=value …]``."""

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from parmtrain.command import DONE, FAILED, exit_status, say
from parmtrain.config.overrides import override_faults
from parmtrain.config.schema import config_folder, register
from parmtrain.errors import ConfigError, Interrupted, ParmtrainError


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for, once or for each combination of a multirun; return the exit status."""
    if arguments is not None:
        sys.argv[1:] = arguments
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors, and the code below reports them
    register()
    statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path=os.fspath(config_folder()), config_name="config")
    def job(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            return _run_and_show(cfg, folder)
        except Interrupted as stop:
            say(f"{stop}\nresume with: {_command_to_resume(stop, folder)}")
            raise KeyboardInterrupt from stop
        except ParmtrainError as fault:
            say(str(fault))
            statuses.append(FAILED)
            return None
        finally:
            _remove_if_empty(folder)

    def work() -> None:
        try:
            job()
        except KeyboardInterrupt as stop:
            if not isinstance(stop.__cause__, Interrupted):
                say("stopped before training started; run the same command again")
            raise
        except (HydraException, OmegaConfBaseException) as fault:
            raise ConfigError(override_faults(sys.argv[1:]) or [str(fault)]) from fault

    return exit_status(work) or max(statuses, default=DONE)


def _run_and_show(cfg: DictConfig, folder: Path) -> float | None:
    """Run one configuration and print its table; return validation A_d, or None if nothing was trained."""
    from parmtrain.report.table import show, title_of
    from parmtrain.runs import run

    record = run(cfg, folder).record
    k, n = record.scheme.k, record.scheme.n
    show(title_of(record.task, record.code, k, n - k), record.scores, folder, record.cost)
    return None if record.validation is None else record.validation.value


def _command_to_resume(stop: Interrupted, folder: Path) -> str:
    given = get_args_parser().parse_args(sys.argv[1:])
    options = [] if given.config_dir is None else ["--config-dir", given.config_dir]
    overrides = HydraConfig.get().overrides.task
    if stop.checkpoint.absolute().is_relative_to(folder.absolute()):  # F's checkpoint is found automatically
        kept = [override for override in overrides if not override.startswith(("ckpt_path=", "overwrite="))]
        overrides = [*kept, f"hydra.run.dir={folder}", f"ckpt_path={stop.checkpoint}"]
    return shlex.join(["python", "-m", "parmtrain", *options, *overrides])


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder that Hydra created, if the run wrote nothing."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
