"""The finished runs of any folder, such as that of a multirun or a search, side by side in one table."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from parmtrain.compare.budget import read_budget
from parmtrain.compare.outputs import write
from parmtrain.compare.results import readable_metrics
from parmtrain.compare.search_plot import Run, searched
from parmtrain.compare.table import Row
from parmtrain.config.identity import UNSEEN, leaves
from parmtrain.errors import ConfigError, DataError
from parmtrain.files import cannot_write
from parmtrain.inputs import as_folder
from parmtrain.outputs import COMPARISON
from parmtrain.run_folder import RunFolder

SAME = ("task", "measure", "data")  # what all runs of a table have in common
ELSEWHERE = {*UNSEEN, "data", "export", "unavailable", "seed", "task.source.root", "task.source.cache", "task.cache"}
ONCE = ("code", "k", "r", "seed")  # beside the variant, what tells runs of a table apart
SHOWN = 12  # characters of a digest

log = logging.getLogger(__name__)


def gather(source: str | Path, overrides: Sequence[str] = (), folder: str | Path | None = None) -> list[Row]:
    """Write one table of all finished runs under a folder, and plots.

    Args:
        source: The folder, such as that of a multirun; its runs may lie at any depth.
        overrides: Budgets, as ``compare`` takes them, and nothing else.
        folder: Folder of ``table.md``, ``table.csv``, ``codes.png`` and ``searched.png``; None for ``source``.

    Returns:
        The rows of the table.

    Raises:
        ConfigError: If an override is no budget, or the folder cannot be written.
        DataError: If there is no finished run, one cannot be read, or they do not belong in one table.
    """
    source = as_folder("--from", source)
    folder = source if folder is None else as_folder("--folder", folder)
    budget, others = read_budget(overrides)
    if others:
        raise ConfigError([f"{others[0]}: beside --from, which trains nothing, only a budget can be given"])
    if why := cannot_write(folder):
        raise ConfigError([f"--folder {folder} cannot be written: {why}"])
    if why := COMPARISON.in_the_way(folder):
        raise ConfigError([f"--folder {folder} {why}; name another --folder"])
    places = [
        RunFolder(path.parent)
        for path in sorted(source.rglob("metrics.json"))
        if (path.parent / "config.yaml").is_file()
    ]
    if not places:
        raise DataError(f"--from {source} must be a folder that holds finished runs, got none")
    runs = [Run(readable_metrics(place), settings_of(place)) for place in places]
    _require_same(runs, source)
    keys = differing(runs)
    texts = {key: texts_of([run.settings.get(key) for run in runs]) for key in keys}
    variants = [" ".join(f"{key}={texts[key][number]}" for key in keys) for number in range(len(runs))]
    once = {(variant, *(run.metrics[name] for name in ONCE)): run for variant, run in zip(variants, runs, strict=True)}
    if again := len(runs) - len(once):
        log.info("left out: %d runs that repeat others with the same seed", again)
    rows = write([(about[0], run.metrics) for about, run in once.items()], [], budget, folder)
    searched(runs, keys, folder / "searched.png")
    return rows


def settings_of(place: RunFolder) -> dict[str, Any]:
    """Return what a run was given, by key, without what has no influence on its figures."""
    content: Any = OmegaConf.to_container(place.read_config(), resolve=True)
    values = {key: value for key, value in leaves(content).items() if not _elsewhere(key)}
    return values | {"deployed": place.read_metrics()["deployed"]["fingerprint"][:SHOWN]}


def _elsewhere(key: str) -> bool:
    """Return whether a key, or one above it, has no influence on figures."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in ELSEWHERE for length in range(1, len(parts) + 1))


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the keys in which runs of the same code, k and r differ; of keys that always agree, the first.

    Example:
        >>> about = {"code": "sum", "k": 2, "r": 1}
        >>> settings = [{"optim.lr": rate, "groups": 64, "scheduler.max_lr": rate} for rate in (0.1, 0.2)]
        >>> differing([Run(about, one) for one in settings])
        ['optim.lr']
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[tuple(run.metrics[name] for name in ("code", "k", "r"))].append(run.settings)
    every = sorted({key for run in runs for key in run.settings}, key=lambda key: (key.count("."), key))
    found: dict[tuple[str, ...], str] = {}
    for key in every:
        if any(len({repr(one.get(key)) for one in same}) > 1 for same in groups.values()):
            found.setdefault(tuple(repr(run.settings.get(key)) for run in runs), key)
    return list(found.values())


def texts_of(values: Sequence[Any]) -> list[str]:
    """Return values as texts, numbers with three digits where that leaves them apart.

    Example:
        >>> texts_of([0.0034269, 0.01, None]), texts_of([0.10001, 0.10002])
        (['0.00343', '0.01', 'None'], ['0.10001', '0.10002'])
    """
    short = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
    return short if len(set(short)) == len(set(map(str, values))) else [str(value) for value in values]


def _require_same(runs: Sequence[Run], source: Path) -> None:
    """Raise a ``DataError`` if runs do not belong side by side."""
    for name in SAME:
        found = sorted({str(run.metrics.get(name))[:SHOWN] for run in runs})
        if len(found) > 1:
            raise DataError(
                f"--from {source} must hold runs of one {name}, got {', '.join(found)}; name a folder of each"
            )
