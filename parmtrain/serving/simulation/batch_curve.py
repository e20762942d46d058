"""How long a model takes for a batch, by its size: measured, and kept as a table."""

import csv
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from parmtrain.errors import ConfigError, reason_of
from parmtrain.files import replacing

COLUMNS = ["size", "seconds"]
WARM_UP = 3


@dataclass(frozen=True)
class BatchCurve:
    """Seconds that a batch takes, for some sizes.

    Args:
        sizes: Numbers of queries, increasing from 1.
        seconds: Seconds of a batch of each size.

    Raises:
        ValueError: If these are no such numbers.

    Example:
        >>> curve = BatchCurve(sizes=(1, 4, 8), seconds=(0.010, 0.016, 0.020))
        >>> [round(curve.relative(size), 2) for size in (1, 2, 8, 16)]  # linear in between, and beyond
        [1.0, 1.2, 2.0, 2.8]
    """

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        increasing = all(one < other for one, other in zip(self.sizes, self.sizes[1:], strict=False))
        if len(self.sizes) != len(self.seconds) or self.sizes[:1] != (1,) or not increasing:
            raise ValueError(f"sizes must increase from 1, each with its seconds, got {self.sizes}")
        if not all(0 < value < float("inf") for value in self.seconds):
            raise ValueError(f"seconds must be more than 0, got {self.seconds}")

    def relative(self, size: int) -> float:
        """Return the seconds of a batch ÷ those of one query."""
        if size > self.sizes[-1] and len(self.sizes) > 1:
            each = (self.seconds[-1] - self.seconds[-2]) / (self.sizes[-1] - self.sizes[-2])
            return (self.seconds[-1] + max(each, 0.0) * (size - self.sizes[-1])) / self.seconds[0]
        return float(np.interp(size, self.sizes, self.seconds)) / self.seconds[0]

    @classmethod
    def measured(
        cls, run: Callable[[np.ndarray], object], query_shape: tuple[int, ...], sizes: Iterable[int], rounds: int = 20
    ) -> "BatchCurve":
        """Measure a model: the median of some rounds, in each of which every size is run once.

        Args:
            run: Maps queries ``[b, *query]`` to outputs, and returns once they are there.
            query_shape: Shape of one query.
            sizes: Numbers of queries.
            rounds: How often each size is run.
        """
        sizes = sorted({1, *sizes})
        taken: dict[int, list[float]] = {size: [] for size in sizes}
        random = np.random.default_rng(0)
        queries = {size: random.random((size, *query_shape), dtype=np.float32) for size in sizes}
        for number in range(WARM_UP + rounds):
            for size in sizes:
                begun = time.perf_counter()
                run(queries[size])
                if number >= WARM_UP:
                    taken[size].append(time.perf_counter() - begun)
        return cls(tuple(sizes), tuple(median(taken[size]) for size in sizes))

    @classmethod
    def read(cls, path: Path) -> "BatchCurve":
        """Read a CSV file with columns ``size`` and ``seconds``.

        Raises:
            ConfigError: If it is none.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = [(int(row["size"]), float(row["seconds"])) for row in csv.DictReader(file)]
            return cls(tuple(size for size, _ in rows), tuple(seconds for _, seconds in rows))
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as fault:
            columns = " and ".join(COLUMNS)
            raise ConfigError([f"{path} must be a CSV file with columns {columns}, but: {reason_of(fault)}"]) from fault

    def write(self, path: Path) -> None:
        """Write a CSV file that ``read`` reads."""
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((size, f"{seconds:.6g}") for size, seconds in zip(self.sizes, self.seconds, strict=True))
