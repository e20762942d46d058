"""The formats of a run, side by side: size, time and score of each."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from parmtrain.files import replacing

MIB = 2**20


@dataclass(frozen=True)
class Exported:
    """A run in one format.

    Args:
        format: Name of the format, an option of the group ``export``.
        degraded: A_d on the test split.
        agreement: Share of reconstructions that agree with the deployed model.
        difference: Largest difference of a reconstructed number to the module's, on validation groups.
        parity_bytes: Size of the parity models' files.
        bytes: Size of the bundle.
        parity_us: Median time of one parity query, in microseconds; None if the deployed model runs it.
        deployed_us: The same of one query of the deployed model.
        why_not: Why the run cannot be exported so; empty if it was.
    """

    format: str
    degraded: float | None = None
    agreement: float | None = None
    difference: float | None = None
    parity_bytes: int | None = None
    bytes: int | None = None
    parity_us: float | None = None
    deployed_us: float | None = None
    why_not: str = ""


def write_formats(rows: Sequence[Exported], path: Path) -> None:
    """Write the formats of a run to a CSV file, which keeps its rows of other formats.

    Example:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp()) / "table.csv"
        >>> write_formats([Exported("onnx", degraded=0.5, bytes=8), Exported("torchscript")], table)
        >>> write_formats([Exported("onnx", degraded=0.75, bytes=8)], table)
        >>> write_formats([Exported("onnx", why_not="no package")], table)
        >>> [line.split(",")[:2] + line.split(",")[-1:] for line in table.read_text().splitlines()[1:]]
        [['onnx', '0.75', 'no package'], ['torchscript', '', '']]
    """
    path.parent.mkdir(exist_ok=True)
    columns = list(vars(rows[0]))
    known = _written(path, columns)
    for row in rows:
        earlier = known.get(row.format, {})
        stays = row.bytes is None and earlier.get("bytes")  # what is there is of an earlier call, and its figures, too
        known[row.format] = earlier | {"why_not": row.why_not} if stays else vars(row)
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(known.values())


def _written(path: Path, columns: list[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by their formats; none if it is not there, or has other columns."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        return {row["format"]: dict(row) for row in reader} if reader.fieldnames == columns else {}


def formats_table(rows: Sequence[Exported], measure: str) -> Table:
    """Return the table of formats."""
    table = Table(title="formats")
    for column in ("format", f"{measure} A_d", "agreement", "largest difference", "parity model", "bundle"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for column in ("one parity query", "one query of F"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            row.format,
            _number(row.degraded, "{:.4f}"),
            _number(row.agreement, "{:.4f}"),
            _number(row.difference, "{:.1e}"),
            _number(row.parity_bytes and row.parity_bytes / MIB, "{:.2f} MiB"),
            _number(row.bytes and row.bytes / MIB, "{:.2f} MiB"),
            _number(row.parity_us and row.parity_us / 1000, "{:.2f} ms"),
            _number(row.deployed_us and row.deployed_us / 1000, "{:.2f} ms"),
            escape(row.why_not),
        )
    return table


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None else pattern.format(value)
