"""The table of a comparison, read again: its lines, as far as advice needs them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from parmtrain.bounds import Bounds, Count, NotNegative, Share, Whole, bounded
from parmtrain.codes import Scheme
from parmtrain.compare.table import PROMISED
from parmtrain.errors import DataError, reason_of

NEEDED = {"code", "k", "r", "late", "nobody_late", "degraded", "all_k", "scheme"}


class Line(BaseModel):
    """One line of a comparison's table, as far as advice needs it."""

    code: str
    k: Annotated[int, bounded(Bounds(least=2))]
    r: Whole
    late: Count
    nobody_late: Share
    degraded: Share
    all_k: Share
    parity_flops: NotNegative = 0.0
    parity_latency: NotNegative = 0.0
    variant: str = ""
    scheme: str = ""

    @property
    def name(self) -> str:
        """The code, and what else distinguishes it from other lines."""
        return " ".join(part for part in (self.code, self.variant, f"k={self.k} r={self.r}") if part)


_SHARE = "must be a number from 0 to 1"
_WORDS = {
    "code": "must be a name",
    "k": "must be an integer of 2 or more",
    "r": "must be an integer of 0 or more",
    "late": "must be an integer of 1 or more",
    **dict.fromkeys(("nobody_late", "degraded", "all_k"), _SHARE),
    **dict.fromkeys(("parity_flops", "parity_latency"), "must be a number of 0 or more"),
}


class AcceptedCells(BaseModel):
    """What a promise accepts, as a line of the table says; None where it does not.

    Args:
        share: Share of reconstructions that is accepted.
        value: How right those are, by the main measure.
        own: How right the deployed model is on the same queries.
    """

    share: Share | None = None
    value: Share | None = None
    own: Share | None = None


def lines_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line of the table with its number.

    Raises:
        DataError: If the file cannot be read, or is no such table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # with the mark that Excel writes, or without
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            lines = [(reader.line_num, cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"results={path} cannot be read: {reason_of(fault)}") from fault
    for mark, other in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise DataError(f"results={path} must have commas between its columns, got {other}; save it with commas")
    if missing := sorted(NEEDED - set(names)):
        raise DataError(
            f"results={path} must be a table that this version of parmtrain compare wrote; it lacks the columns "
            f"{', '.join(missing)}"
        )
    yield from lines


def read_line(cells: dict[str, Any], where: str) -> tuple[Line, Scheme | None]:
    """Return one line of the table, and its scheme if it has one.

    Raises:
        DataError: If they cannot be read, or contradict each other.
    """
    try:
        line = Line.model_validate({name: cell for name, cell in cells.items() if name and cell})
        scheme = Scheme.from_json(json.loads(line.scheme)) if line.scheme else None
    except ValidationError as faults:
        fault = faults.errors()[0]
        name = str(fault["loc"][0])
        raise DataError(f"{where}: {name} {_WORDS[name]}, got {cells[name] or 'nothing'}") from faults
    except ValueError as fault:
        raise DataError(f"{where}: scheme cannot be read: {fault}") from fault
    if scheme is not None:
        for column, given, right in (("k", line.k, scheme.k), ("r", line.r, scheme.n - scheme.k)):
            if given != right:
                raise DataError(f"{where}: {column} must be {right}, as in the scheme of the line, got {given}")
    return line, scheme


def accepted_of(cells: dict[str, Any], where: str) -> dict[str, AcceptedCells]:
    """Return what each promise accepts.

    Raises:
        DataError: If that cannot be read.
    """
    found = {}
    for promised in PROMISED:
        parts = {"share": "accepted", "value": "accepted_value", "own": "accepted_own"}
        names = {part: f"{column}_{promised}" for part, column in parts.items()}
        given = {part: cells[name] for part, name in names.items() if cells.get(name)}
        try:
            found[promised] = AcceptedCells.model_validate(given)
        except ValidationError as faults:
            name = names[str(faults.errors()[0]["loc"][0])]
            raise DataError(f"{where}: {name} {_SHARE}, got {cells[name]}") from faults
    return found
