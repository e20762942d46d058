"""The command line: ``python -m parmtrain [key=value …]``."""

import os
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from parmtrain.config.overrides import override_faults
from parmtrain.config.schema import config_folder, register
from parmtrain.errors import ConfigError, Interrupted, ParmtrainError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for, once or for each combination of a multirun; return the exit status."""
    if arguments is not None:
        sys.argv[1:] = arguments
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors on, and the sentences below are ours
    register()
    failures: list[ParmtrainError] = []

    @hydra.main(version_base="1.3", config_path=os.fspath(config_folder()), config_name="config")
    def job(cfg: DictConfig) -> float | None:
        from parmtrain.report.table import show
        from parmtrain.runs import run

        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            metrics = run(cfg, folder).metrics
            show(metrics, folder)
            validation = metrics["validation"]  # None where nothing was trained
            return validation and float(validation[f"degraded_{metrics['measure']}"])
        except Interrupted as stop:
            _say(f"{stop}\ngo on with: {_command_to_go_on(stop, folder)}")
            raise KeyboardInterrupt from stop
        except ParmtrainError as fault:
            _say(str(fault))
            failures.append(fault)
            _remove_if_empty(folder)
            return None

    try:
        job()
    except KeyboardInterrupt as stop:
        if not isinstance(stop.__cause__, Interrupted):
            _say("stopped before any training; the same command begins again")
        return INTERRUPTED
    except (HydraException, OmegaConfBaseException) as fault:
        _say(str(ConfigError(override_faults(sys.argv[1:]) or [str(fault)])))
        return 1
    except OSError as fault:
        _say(f"{fault.filename or 'the output folder'} cannot be written: {fault.strerror}; hydra.run.dir=… is another")
        return 1
    return 1 if failures else 0


def _command_to_go_on(stop: Interrupted, folder: Path) -> str:
    given = HydraConfig.get().overrides.task
    if not stop.checkpoint.absolute().is_relative_to(folder.absolute()):  # the deployed model goes on by itself
        return shlex.join(["python", "-m", "parmtrain", *given])
    kept = [override for override in given if not override.startswith(("ckpt_path=", "overwrite="))]
    here = [f"hydra.run.dir={folder}", f"ckpt_path={stop.checkpoint}"]
    return shlex.join(["python", "-m", "parmtrain", *kept, *here])


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
