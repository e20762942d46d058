"""Plan the runs of a comparison from one command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.bounds import twice
from parmtrain.cache import key_of as digest_of
from parmtrain.compare.budget import PREFIX
from parmtrain.config import assemble
from parmtrain.config.compose import compose, why_not
from parmtrain.config.identity import UNSEEN
from parmtrain.config.overrides import each_value, override_faults
from parmtrain.config.own_code import own_sources
from parmtrain.config.sources import is_group, key_of, options
from parmtrain.errors import ConfigError, UnsupportedError
from parmtrain.query_type import QueryType
from parmtrain.run_folder import RunFolder

ALL, AUTO = "all", "auto"
OPTIONS = {"folder": "--folder", "config_dir": "--config-dir", "config-dir": "--config-dir"}
RUNS = "runs"  # folder of the runs in that of a comparison
COLUMNS = ("task", "code", "k", "r", "seed")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Args:
        overrides: Its overrides, each with one value.
        swept: Values of those that differ between runs, by key.
        study: Folder of the comparison.
        config_dir: Folder with YAML files of your own.
        from_python: What identifies the deployed model and the data sets that were given from Python, if any were.
    """

    overrides: tuple[str, ...]
    swept: dict[str, str]
    study: Path
    config_dir: str | None = None
    from_python: tuple[str, ...] = ()

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration."""
        return compose(*self.overrides, config_dir=self.config_dir)

    @cached_property
    def folder(self) -> RunFolder:
        """Folder of the run: a readable name, and a key of the whole configuration."""
        cfg = self.cfg
        content: Any = OmegaConf.to_container(cfg, resolve=True)
        content = {name: value for name, value in content.items() if name not in UNSEEN}
        content.pop("data")
        content["deployed"].pop("bundle")
        if content["deployed"]["takes"] is QueryType.float32:  # older versions had no such key
            content["deployed"].pop("takes")
        source = content["task"].get("source") or {}
        for place, key in ((content["task"], "cache"), (source, "cache"), (source, "root")):
            place.pop(key, None)
        if sources := own_sources(content):
            content["sources"] = sources
        if self.from_python:
            content["from_python"] = list(self.from_python)
        code = cfg.code._target_.rpartition(".")[2].lower()
        name = f"{cfg.task.name}-{code}-k{cfg.k}-seed{cfg.seed}-{digest_of(content, 10)}"
        return RunFolder(self.study / RUNS / name)

    @property
    def title(self) -> str:
        """The overrides that distinguish it from the other runs."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items())

    @property
    def option(self) -> str | None:
        """The option of the group ``code``, if an override chooses it."""
        return next((one.partition("=")[2] for one in self.overrides if one.startswith("code=")), None)

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


def planned_runs(
    overrides: Sequence[str], study: Path, config_dir: str | None = None, from_python: tuple[str, ...] = ()
) -> list[PlannedRun]:
    """Return one run for each combination of the values in the overrides.

    Args:
        overrides: Overrides as ``parmtrain -m`` takes them; ``code=all`` stands for every code.
        study: Folder of the comparison.
        config_dir: Folder with YAML files of your own.
        from_python: What identifies the deployed model and the data sets that were given from Python, if any were.

    Raises:
        ConfigError: With every override that does not compose or does not belong in a comparison.

    Example:
        >>> [one.title for one in planned_runs(["k=2,3", "code=sum,stack", "seed=1"], Path("study"))]
        ['code=sum k=2', 'code=sum k=3', 'code=stack k=2', 'code=stack k=3']
    """
    every = f"code={','.join(option for option in options('code', config_dir) if option != AUTO)}"
    given = [every if override == f"code={ALL}" else override for override in overrides]
    given = sorted(given, key=lambda override: not override.startswith("code="))  # keeps the rows of a code together
    misplaced = [one for one in given if key_of(one) in OPTIONS]
    found = [
        f"{one}: unknown key {key_of(one)}; write {OPTIONS[key_of(one)]} {one.partition('=')[2]}" for one in misplaced
    ]
    found += override_faults([one for one in given if one not in misplaced], config_dir)
    if found:
        raise ConfigError(found)
    values = {override: list(each_value(override)) for override in given}
    require_one_question(values)
    planned = []
    for combination in product(*values.values()):
        swept = dict(
            single.split("=", 1) for single, listed in zip(combination, values.values(), strict=True) if listed[1:]
        )
        planned.append(PlannedRun(combination, swept, study, config_dir, from_python))
        try:
            _ = planned[-1].folder  # resolves the configuration
        except OmegaConfBaseException as fault:
            raise why_not(combination, fault, config_dir) from fault
    if (again := twice(one.folder.path for one in planned)) is not None:
        titles = [one.title for one in planned if one.folder.path == again]
        raise ConfigError([f"every run must differ from the others, got the same one twice: {' and '.join(titles)}"])
    return planned


def require_folder_name(folder: str, config_dir: str | None = None) -> None:
    """Raise a ``ConfigError`` if the name of a folder is an override, whose own folder was forgotten.

    Args:
        folder: What was given as the folder of the comparison.
        config_dir: Folder with YAML files of your own.
    """
    first = key_of(folder).partition("@")[0].partition(".")[0]
    if "=" not in folder or not first.isidentifier() or Path(folder).is_dir():
        return
    if f"{first}." in (PREFIX, "hydra.") or is_group(f"{first}=") or first in compose(config_dir=config_dir):
        raise ConfigError([f"--folder must be the path of a folder, got {folder}; write --folder DIR {folder}"])


def require_one_question(values: Mapping[str, Sequence[str]]) -> None:
    """Raise a ``ConfigError`` if a comparison would put figures side by side that do not belong together.

    Args:
        values: For each override, the overrides with one value each that it stands for.
    """
    faults = []
    for override, listed in values.items():
        key = key_of(override)
        given = [one.partition("=")[2] for one in listed]
        if key.startswith("hydra.") and key not in ("hydra.searchpath",):
            faults.append(f"{key} must not be set in a comparison, which has folders of its own; use --folder")
        elif key == "code" and AUTO in given:
            faults.append("code=auto must not be in a comparison, which compares codes; name them, or use code=all")
        elif key == "hparams_search" or "interval(" in override:
            faults.append(f"{override}: a comparison runs what it is given; a search is parmtrain -m hparams_search=…")
        elif key in ("ckpt_path", "overwrite"):
            faults.append(f"{key} must not be set in a comparison, which resumes what is unfinished; use --folder")
        elif (again := twice(given)) is not None:
            faults.append(f"{key}={again} must be given once, got twice")
        elif len(given) > 1 and key == "task":
            faults.append(f"task must be one task, got {', '.join(given)}; compare each in a folder of its own")
        elif len(given) > 1 and (key in UNSEEN or key.startswith("data.") or key == "task.source.root"):
            faults.append(f"{key} must have one value in a comparison, got {', '.join(given)}")
    if faults:
        raise ConfigError(faults)
