"""PairFolder queries and the deployed model's own answers, in a folder of bounded size that a front writes."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parmtrain.errors import DataError, reason_of
from parmtrain.files import replacing

CHUNK = 256  # pairs in a file
MOST = 64  # files that are kept: the newest
PATTERN = "pairs-*.npz"
HELD_OUT = 4  # one of so many files is held out


class Pairs(NamedTuple):
    """Queries and answers.

    Args:
        queries: Queries ``[n, *query]``.
        predictions: The deployed model's own predictions of them ``[n, c]``.
    """

    queries: Tensor
    predictions: Tensor


class PairFolder:
    """A folder of pairs: each file has some, and the oldest are removed.

    Several fronts write into folders of their own below it. Every fourth file is held out from learning, so that a
    model is never scored on what it has learned from.

    Args:
        folder: The folder, which need not exist.
        most: Files that are kept.

    Example:
        >>> import tempfile
        >>> served = PairFolder(Path(tempfile.mkdtemp()), most=8)
        >>> for number in range(10):
        ...     served.write(np.full((2, 3), number, dtype=np.float32), np.zeros((2, 5), dtype=np.float32))
        >>> learned, held_out = served.read()
        >>> learned.queries[:, 0].tolist(), held_out.queries[:, 0].tolist()
        ([2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 6.0, 6.0, 7.0, 7.0, 9.0, 9.0], [4.0, 4.0, 8.0, 8.0])
    """

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self.most = folder, most

    def write(self, queries: np.ndarray, predictions: np.ndarray) -> None:
        """Add a file of queries ``[n, *query]`` and predictions ``[n, c]``, and remove the oldest beyond ``most``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        every = self._files()
        number = self._number(every[-1]) + 1 if every else 0
        path = self.folder / f"pairs-{number:012d}.npz"
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, queries=queries.astype(np.float32), predictions=predictions.astype(np.float32))
        for old in self._files()[: -self.most]:
            old.unlink(missing_ok=True)

    def read(self) -> tuple[Pairs, Pairs]:
        """Return pairs to learn from, and those that are held out, both in the order in which they came.

        Raises:
            DataError: If there are none, or a file is damaged or of another shape.
        """
        learned: list[Pairs] = []
        held_out: list[Pairs] = []
        for path in self._files():
            part = _read(path)
            if part is not None:
                (held_out if self._number(path) % HELD_OUT == 0 else learned).append(part)
        if not learned or not held_out:
            raise DataError(
                f"{self.folder} must hold {HELD_OUT + 1} or more files of served queries, which a front keeps"
            )
        shapes = {(*part.queries.shape[1:], *part.predictions.shape[1:]) for part in [*learned, *held_out]}
        if len(shapes) > 1:
            raise DataError(f"{self.folder} must hold queries of one shape, got several; keep those of each F apart")
        return _together(learned), _together(held_out)

    @property
    def written(self) -> int:
        """How many files have been written in all, those included that were removed."""
        newest: dict[Path, int] = {}
        for path in self._files():
            newest[path.parent] = max(newest.get(path.parent, 0), self._number(path) + 1)
        return sum(newest.values())

    def _files(self) -> list[Path]:
        """Return the files, oldest first."""
        return sorted(self.folder.rglob(PATTERN), key=lambda path: (self._number(path), path))

    @staticmethod
    def _number(path: Path) -> int:
        return int(path.stem.partition("-")[2])


class Keeping:
    """Collect pairs, and hand on whole files of them.

    Args:
        share: Share of queries that is kept, evenly.

    Example:
        >>> keeping = Keeping(share=0.5)
        >>> given = [keeping.take(np.zeros(3), np.zeros(2)) for _ in range(2 * CHUNK)]
        >>> [one[0].shape for one in given if one is not None]
        [(256, 3)]
    """

    def __init__(self, share: float) -> None:
        self.share, self._due = share, 0.0
        self._queries: list[np.ndarray] = []
        self._predictions: list[np.ndarray] = []

    def take(self, query: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Take a query ``[*query]`` and F's own prediction ``[c]``; return those of a file once it is full."""
        self._due += self.share
        if self._due < 1:
            return None
        self._due -= 1
        self._queries.append(query)
        self._predictions.append(prediction)
        if len(self._queries) < CHUNK:
            return None
        full = np.stack(self._queries), np.stack(self._predictions)
        self._queries, self._predictions = [], []
        return full


def _read(path: Path) -> Pairs | None:
    """Return the pairs of a file; None if it has been removed meanwhile."""
    try:
        with np.load(path, allow_pickle=False) as content:
            pairs = Pairs(*(torch.from_numpy(content[name]) for name in ("queries", "predictions")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as fault:
        raise DataError(f"{path} must be a file of served queries that a front wrote: {reason_of(fault)}") from fault
    if len(pairs.queries) != len(pairs.predictions) or pairs.predictions.dim() != 2:
        raise DataError(f"{path} must have a prediction for each query")
    return pairs


def _together(parts: list[Pairs]) -> Pairs:
    return Pairs(*(torch.cat(one) for one in zip(*parts, strict=True)))
