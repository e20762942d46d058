"""Write files atomically: completely or not at all, and say which disk is full."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parmtrain.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
SIGNS = (
    os.strerror(errno.ENOSPC),
    "PytorchStreamWriter failed writing",
    "unexpected pos",
)  # of errors without a number
NEARLY_NOTHING = 2**20  # bytes; some writers fail before the last byte is taken


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when the block ends without an error.

    A file or a folder may be written to the temporary path. It has the file name of ``path``, since some writers
    depend on the suffix. It is flushed to the disk before it replaces ``path``. A file is replaced at once; a folder is
    moved aside first.

    Raises:
        StorageError: If the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()], (folder / "a.txt").read_text()
        (['a.txt'], 'whole')
    """
    with naming_full_disks({f"{path.name}": path.parent}):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary = scratch / path.name
        try:
            yield temporary
            _flush(temporary)
            if temporary.is_dir() and path.is_dir():
                os.rename(path, scratch / "replaced")
            os.replace(temporary, path)
        except Exception as fault:
            require_space(fault, {f"{path.name}": path.parent})  # the unfinished file still takes its space
            raise
        finally:
            if (scratch / "replaced").exists() and not path.exists():  # stopped between the two renames
                os.rename(scratch / "replaced", path)
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def naming_full_disks(places: Mapping[str, Path]) -> Iterator[None]:
    """Turn an error of a block into a ``StorageError`` if a disk is full.

    Args:
        places: Folders that the block writes to, each with a name for the error message.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as fault:
        require_space(fault, places)
        raise


def require_space(fault: Exception, places: Mapping[str, Path]) -> None:
    """Raise a ``StorageError`` if an error comes from a full disk: some libraries wrap it in errors of their own.

    Args:
        fault: The error.
        places: Folders that were written to, each with a name for the error message.
    """
    told = getattr(fault, "errno", None) in FULL or any(sign in str(fault) for sign in SIGNS)
    if not told and not isinstance(fault, RuntimeError):
        return
    free = {name: shutil.disk_usage(existing(folder)).free for name, folder in places.items()}
    name = min(free, key=lambda name: free[name])
    if told or free[name] < NEARLY_NOTHING:
        raise StorageError(
            f"no space is left on the disk of {places[name]}, which takes {name}; free some space"
        ) from fault


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if os.path.lexists(one))


def cannot_write(path: Path) -> str | None:
    """Return why no file can be written in a folder, which need not exist; None if it can.

    Example:
        >>> cannot_write(Path("/dev/null/run"))
        '/dev/null is a file'
    """
    there = existing(path)
    if there.is_symlink() and not there.exists():
        return f"{there} is a link to nothing"
    if not there.is_dir():
        return f"{there} is a file"
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"this user may not write in {there}"
    return None


def behind_a_link(path: Path) -> bool:
    """Return whether a path is a link or leads through one, so that it may come to mean another file or folder."""
    path = path.expanduser().absolute()
    return any(one.is_symlink() for one in (path, *path.parents))


def _flush(path: Path) -> None:
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` atomically as indented JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
