"""Plan the runs of a comparison from one command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.cache import key_of
from parmtrain.config import assemble
from parmtrain.config.compose import compose
from parmtrain.config.overrides import each_value, override_faults
from parmtrain.config.sources import options
from parmtrain.errors import ConfigError, UnsupportedError
from parmtrain.run_folder import RunFolder

ALL = "all"
ELSEWHERE = ("cache", "ckpt_path", "overwrite", "logger")  # locations, which do not identify a run
COLUMNS = ("task", "code", "k", "r", "seed")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Args:
        overrides: Its overrides, each with one value.
        swept: Values of those that differ between runs, by key.
        study: Folder of the comparison.
        config_dir: Folder with YAML files of your own.
    """

    overrides: tuple[str, ...]
    swept: dict[str, str]
    study: Path
    config_dir: str | None = None

    @cached_property
    def composed(self) -> DictConfig:
        """The configuration as requested."""
        return compose(*self.overrides, config_dir=self.config_dir)

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration, which resumes an unfinished run from its last state."""
        cfg = self.composed.copy()
        if self.folder.unfinished:
            cfg.ckpt_path = str(self.folder.last)
        return cfg

    @cached_property
    def folder(self) -> RunFolder:
        """Folder of the run: a readable name, and a key of the whole configuration."""
        cfg = self.composed
        content: Any = OmegaConf.to_container(cfg, resolve=True)
        content = {name: value for name, value in content.items() if name not in ELSEWHERE}
        content.pop("data")
        (content["task"].get("source") or {}).pop("root", None)
        code = cfg.code._target_.rpartition(".")[2].lower()
        name = f"{cfg.task.name}-{code}-k{cfg.k}-seed{cfg.seed}-{key_of(content, 10)}"
        return RunFolder(self.study / "runs" / name)

    @property
    def title(self) -> str:
        """The overrides that distinguish it from the other runs."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items())

    @property
    def variant(self) -> str:
        """The overrides that distinguish it from other runs and have no column of their own."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items() if key not in COLUMNS)

    def unsupported(self) -> str | None:
        """Return why the code does not support this k, r or task; None if it does."""
        try:
            assemble.build(self.cfg.code).parity_shape(tuple(self.cfg.task.query_shape))
        except UnsupportedError as fault:
            return str(fault)
        return None


def planned_runs(overrides: Sequence[str], study: Path, config_dir: str | None = None) -> list[PlannedRun]:
    """Return one run for each combination of the values in the overrides.

    Args:
        overrides: Overrides as ``python -m parmtrain -m`` takes them; ``code=all`` stands for every code.
        study: Folder of the comparison.
        config_dir: Folder with YAML files of your own.

    Raises:
        ConfigError: With every override that does not compose.

    Example:
        >>> [one.title for one in planned_runs(["k=2,3", "code=sum,stack", "seed=1"], Path("study"))]
        ['code=sum k=2', 'code=sum k=3', 'code=stack k=2', 'code=stack k=3']
    """
    every = f"code={','.join(options('code', config_dir))}"
    given = [every if override == f"code={ALL}" else override for override in overrides]
    given = sorted(given, key=lambda override: not override.startswith("code="))  # keeps the rows of a code together
    try:
        values = [list(each_value(override)) for override in given]
        planned = []
        for combination in product(*values):
            swept = dict(single.split("=", 1) for single, listed in zip(combination, values, strict=True) if listed[1:])
            planned.append(PlannedRun(combination, swept, study, config_dir))
            _ = planned[-1].folder  # composes
    except (HydraException, OmegaConfBaseException) as fault:
        searched = [] if config_dir is None else ["--config-dir", config_dir]
        raise ConfigError(override_faults([*searched, *overrides]) or [str(fault)]) from fault
    return planned
