"""From one command line to the runs that a comparison is made of."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.config import assemble
from parmtrain.config.check import FINISHED, UNFINISHED
from parmtrain.config.overrides import override_faults
from parmtrain.config.schema import compose, config_folder
from parmtrain.errors import ConfigError, UnsupportedError

ALL = "all"
ELSEWHERE = ("cache", "ckpt_path", "overwrite", "logger")  # where things are, not what they are
COLUMNS = ("task", "code", "k", "r", "seed")


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Args:
        overrides: Overrides that it is composed of, each with one value.
        swept: Those that differ between runs, by key.
        study: Folder of the comparison.
    """

    overrides: tuple[str, ...]
    swept: dict[str, str]
    study: Path

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration; it goes on from the last state of an unfinished run."""
        cfg = compose(*self.overrides)
        if not self.finished and (self.folder / UNFINISHED).exists():
            cfg.ckpt_path = str(self.folder / UNFINISHED)
        return cfg

    @cached_property
    def folder(self) -> Path:
        """Where the run is kept: a name to read, and a digest of the whole configuration."""
        cfg = compose(*self.overrides)
        content: Any = OmegaConf.to_container(cfg, resolve=True)
        content = {key: value for key, value in content.items() if key not in ELSEWHERE}
        content.pop("data")
        (content["task"].get("source") or {}).pop("root", None)
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:10]
        code = cfg.code._target_.rpartition(".")[2].lower()
        return self.study / "runs" / f"{cfg.task.name}-{code}-k{cfg.k}-seed{cfg.seed}-{digest}"

    @property
    def finished(self) -> bool:
        """Whether it was run before, to its end."""
        return (self.folder / FINISHED).is_file()

    @property
    def metrics(self) -> dict[str, Any]:
        """What the finished run measured."""
        metrics: dict[str, Any] = json.loads((self.folder / FINISHED).read_text(encoding="utf-8"))
        return metrics

    @property
    def title(self) -> str:
        """What tells it from the others."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items())

    @property
    def variant(self) -> str:
        """What tells it from others beside the columns that every table has."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items() if key not in COLUMNS)

    def unsupported(self) -> str | None:
        """Return why the code cannot take this k, r or task, if it cannot."""
        try:
            assemble.build(self.cfg.code).parity_shape(tuple(self.cfg.task.query_shape))
        except UnsupportedError as fault:
            return str(fault)
        return None


def jobs_of(overrides: Sequence[str], study: Path) -> list[Job]:
    """Return a job for each combination of the values that overrides list.

    Args:
        overrides: Overrides as ``python -m parmtrain -m`` takes them; ``code=all`` stands for every code there is.
        study: Folder of the comparison.

    Raises:
        ConfigError: With every override that does not compose.

    Example:
        >>> [job.title for job in jobs_of(["k=2,3", "code=sum,stack", "seed=1"], Path("study"))]
        ['code=sum k=2', 'code=sum k=3', 'code=stack k=2', 'code=stack k=3']
    """
    given = [_all_codes() if override == f"code={ALL}" else override for override in overrides]
    given = sorted(given, key=lambda override: not override.startswith("code="))  # a code's rows together
    try:
        values = [list(_values(override)) for override in given]
        jobs = []
        for combination in product(*values):
            swept = dict(single.split("=", 1) for single, listed in zip(combination, values, strict=True) if listed[1:])
            jobs.append(Job(combination, swept, study))
            _ = jobs[-1].folder  # composes
    except (HydraException, OmegaConfBaseException) as fault:
        raise ConfigError(override_faults(list(overrides)) or [str(fault)]) from fault
    return jobs


def _all_codes() -> str:
    return "code=" + ",".join(sorted(path.stem for path in (config_folder() / "code").glob("*.yaml")))


def _values(override: str) -> Iterator[str]:
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        yield override
        return
    for value in parsed.sweep_string_iterator():
        yield f"{override.partition('=')[0]}={value}"
