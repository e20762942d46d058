"""Train, evaluate and export a parity model: ``parmtrain [train] [key=value …]``."""

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from parmtrain.arguments import VERSION
from parmtrain.command import DONE, FAILED, UNREAD, ending_quietly, exit_status, nobody_reads, say, sentence_of
from parmtrain.config.compose import why_not
from parmtrain.config.folder import config_folder, require_folder
from parmtrain.config.overrides import override_faults, require_once
from parmtrain.config.schema import register
from parmtrain.config.searching import search_faults
from parmtrain.config.sources import all_for_hydra, quoted
from parmtrain.errors import (
    ConfigError,
    Interrupted,
    ParmtrainError,
    StorageError,
    interruptions,
    raised_in,
    reason_of,
)
from parmtrain.run_folder import RunFolder


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for, once or for each combination of a multirun; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if "--version" in given:
        print(VERSION)
        return DONE
    options, overrides, config_dir, multirun = _parts(given)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors, and the code below reports them
    register()
    statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path=os.fspath(config_folder()), config_name="config")
    def job(cfg: DictConfig) -> float | tuple[float, ...] | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            with interruptions():
                return _run_and_show(cfg, folder)
        except Interrupted as stop:
            say(f"{stop}\nresume with: {_command_to_resume(stop.checkpoint, folder)}")
            raise KeyboardInterrupt from stop
        except (ParmtrainError, OSError) as fault:
            if isinstance(fault, BrokenPipeError) and nobody_reads():
                sys.exit(UNREAD)
            say(sentence_of(fault) if isinstance(fault, OSError) else str(fault))
            if isinstance(fault, StorageError) and RunFolder(folder).unfinished:
                say(f"resume with: {_command_to_resume(RunFolder(folder).last, folder)}")
            statuses.append(FAILED)
            return None
        finally:
            _remove_if_empty(folder)

    def work() -> None:
        require_folder(config_dir)
        require_once(overrides)
        sys.argv[1:] = [*options, *all_for_hydra(overrides)]
        if multirun and (found := override_faults(overrides, config_dir) or search_faults(overrides, config_dir)):
            raise ConfigError(found)  # before the first run
        try:
            job()
        except KeyboardInterrupt as stop:
            if not isinstance(stop.__cause__, Interrupted):
                say("stopped before training started; run the same command again")
            raise
        except Exception as fault:  # beside its own errors, Hydra raises those of Python
            if raised_in(fault, "optuna"):
                raise ConfigError([f"the search has no result: {reason_of(fault)}"]) from fault
            raise _explained(fault, overrides, config_dir) from fault
        finally:
            HydraConfig.instance().cfg = None  # whoever calls this from Python is on no command line afterwards

    return exit_status(work) or max(statuses, default=DONE)


def _parts(arguments: list[str]) -> tuple[list[str], list[str], str | None, bool]:
    """Return options, overrides, the folder of the user's own YAML files, and whether this is a multirun."""
    parsed = get_args_parser().parse_intermixed_args(arguments)
    options = list(arguments)
    for override in parsed.overrides:
        options.remove(override)
    return options, parsed.overrides, parsed.config_dir, parsed.multirun


def _explained(fault: Exception, overrides: list[str], config_dir: str | None) -> Exception:
    """Return an error that explains what Hydra could not compose; a bug stays what it is."""
    if isinstance(fault, BrokenPipeError):
        return fault
    if "INTERVAL_SWEEP" in str(fault):
        return ConfigError(["an interval is for a search to choose from: add hparams_search=one_k, or name values"])
    if isinstance(fault, HydraException | OmegaConfBaseException):
        return why_not(overrides, fault, config_dir)
    found = [] if isinstance(fault, OSError) else override_faults(overrides, config_dir)
    if not found and raised_in(fault, "hydra"):
        found = [reason_of(fault)]
    return ConfigError(found) if found else fault


def _run_and_show(cfg: DictConfig, folder: Path) -> float | tuple[float, ...] | None:
    """Run one configuration and print its table; return the figures that a search looks at."""
    from parmtrain.objectives import objectives
    from parmtrain.report.table import show, title_of
    from parmtrain.runs import is_done, run

    ours = HydraConfig.get()
    if not ours.run.dir:
        raise ConfigError(["hydra.run.dir must be a folder, got an empty one"])
    if ours.mode is RunMode.RUN and (search := ours.runtime.choices.get("hparams_search")):
        raise ConfigError([f"hparams_search={search} needs -m: parmtrain -m hparams_search={search} …"])
    if ours.mode is RunMode.MULTIRUN and is_done(cfg, folder):
        say(f"{folder}: finished earlier")
        return objectives(RunFolder(folder).read_metrics(), cfg.objectives)
    result = run(cfg, folder)
    record = result.record
    k, n = record.scheme.k, record.scheme.n
    show(title_of(record.task, record.code, k, n - k), record.scores, folder, record.cost | record.timing)
    return objectives(result.metrics, cfg.objectives)


def _command_to_resume(checkpoint: Path, folder: Path) -> str:
    given = get_args_parser().parse_args(sys.argv[1:])
    options = [] if given.config_dir is None else ["--config-dir", given.config_dir]
    ours = HydraConfig.get()
    if ours.mode is RunMode.MULTIRUN:  # which goes on in its folder, run by run
        kept = [one for one in given.overrides if not one.startswith(("hydra.sweep.dir=", "overwrite="))]
        return shlex.join(["parmtrain", "-m", *options, *kept, quoted("hydra.sweep.dir", ours.sweep.dir)])
    overrides = [*HydraConfig.get().overrides.task, quoted("hydra.run.dir", folder)]
    if checkpoint.absolute().is_relative_to(folder.absolute()):  # F's checkpoint is found automatically
        kept = [override for override in overrides if not override.startswith(("ckpt_path=", "overwrite="))]
        overrides = [*kept, quoted("ckpt_path", checkpoint)]
    return shlex.join(["parmtrain", *options, *overrides])


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder that Hydra created, and those above it in this one, if the run wrote nothing."""
    here = Path.cwd()
    for one in (folder, *folder.absolute().parents):
        if one.absolute() == here or not one.is_dir() or any(one.iterdir()):
            return
        one.rmdir()


if __name__ == "__main__":
    sys.exit(main())
