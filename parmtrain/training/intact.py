"""Decode every photograph once before anything is trained, so that damaged ones are named then."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import track
from torch import Tensor, arange
from torch.utils.data import Dataset

from parmtrain.cache import key_of
from parmtrain.errors import DataError
from parmtrain.files import write_text
from parmtrain.tasks.photographs import VERSION, Photographs, decoded
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.loading import WholeBatches

log = logging.getLogger(__name__)
BATCH, NAMED = 64, 3


def require_intact(splits: "Splits[QuerySet]", cache: Path, workers: int) -> None:
    """Raise a ``DataError`` that names the photographs that cannot be decoded, if any.

    A header does not tell whether the rest of a file is there. Files that were decoded are remembered in the cache, by
    path, size and time of modification, so each is decoded here only once.

    Args:
        splits: Queries of a task, photographs or not.
        cache: Cache folder.
        workers: Processes that decode.
    """
    parts = [part for part in splits if isinstance(part, Photographs)]
    files = [_File(path, part.upright) for part in parts for path in part.paths]
    if not files:
        return
    above = os.path.commonpath([file.path.absolute() for file in files])
    with _remembered(cache / "photographs" / f"{key_of(above)}.txt", {file.key for file in files}) as intact:
        new = [file for file in files if file.key not in intact]
        if not new:
            return
        faults = []
        for number, sentence in enumerate(_sentences(new, workers)):
            if sentence:
                faults.append((new[number].path, sentence))
            else:
                intact.add(new[number].key)
    if faults:
        raise DataError(_sentence(faults))
    log.info("decoded %d photograph%s, once, and found none damaged", len(new), "s" if new[1:] else "")


def _sentence(faults: list[tuple[Path, str]]) -> str:
    (_, first), *others = faults
    if not others:
        return f"{first}; replace or remove it"
    names = ", ".join(str(path) for path, _ in others[:NAMED]) + (", …" if others[NAMED:] else "")
    more = f"{len(others)} more photograph{'s are' if others[1:] else ' is'}"
    return f"{first}; {more} damaged: {names}; replace or remove them"


def _sentences(files: "list[_File]", workers: int) -> Iterator[str]:
    """Yield what is wrong with each file; an empty text for an intact one."""
    batches = arange(len(files)).split(BATCH)
    loader: WholeBatches[list[str]] = WholeBatches(_Decoding(files), batches, workers if len(batches) > 1 else 0)
    for batch in track(loader, description="decoding photographs", total=len(batches), transient=True):
        yield from batch


class _File:
    """A photograph, and a key that differs once the file does."""

    def __init__(self, path: Path, upright: bool) -> None:
        status = path.stat()
        self.path, self.upright = path, upright
        self.key = key_of([str(path.absolute()), status.st_size, status.st_mtime_ns, upright, VERSION])


class _Decoding(Dataset[list[str]]):
    """Return what is wrong with the photographs of a batch."""

    def __init__(self, files: list[_File]) -> None:
        self.files = files

    def __getitem__(self, index: Tensor) -> list[str]:
        return [self._wrong(self.files[i]) for i in index.tolist()]

    def _wrong(self, file: _File) -> str:
        try:
            decoded(file.path, file.upright)
        except DataError as fault:
            return str(fault)
        return ""

    def __len__(self) -> int:
        return len(self.files)


@contextmanager
def _remembered(path: Path, keys: set[str]) -> Iterator[set[str]]:
    """Yield those of some keys that a file holds, and write what the block adds, also if it is stopped."""
    known = set(path.read_text(encoding="utf-8", errors="replace").split()) & keys if path.is_file() else set()
    before = len(known)
    try:
        yield known
    finally:
        if len(known) > before:
            write_text(path, "\n".join(sorted(known)))
