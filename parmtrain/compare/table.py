"""The rows of a comparison, and how to write them."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import JustifyMethod
from rich.table import Table

from parmtrain.files import write_text

Row = dict[str, Any]

PROMISED = ("0.95", "0.98", "0.99")  # agreement of the reconstructions that are accepted
HEADINGS = {
    "code": "code",
    "k": "k",
    "r": "r",
    "variant": "variant",
    "seeds": "seeds",
    "available": "A_a",
    "late": "late",
    "nobody_late": "nobody late",
    "validation": "A_d, validation",
    "degraded": "A_d",
    "degraded_low": "A_d, 95 % low",
    "degraded_high": "A_d, 95 % high",
    "degraded_spread": "A_d, ± over seeds",
    "degraded_worst": "A_d, worst position",
    "agreement": "agreement",
    "calibration_error": "calibration error",
    **{f"accepted_{promised}": f"accepted at {promised}" for promised in PROMISED},
    **{f"accepted_value_{promised}": f"A_d of accepted at {promised}" for promised in PROMISED},
    **{f"accepted_own_{promised}": f"A_a on accepted at {promised}" for promised in PROMISED},
    "all_k": "all k",
    "all_k_low": "all k, 95 % low",
    "all_k_high": "all k, 95 % high",
    "all_k_worst": "all k, worst workers",
    "unrecoverable": "unrecoverable",
    "extra_workers": "extra dispatches per query",
    "parity_bytes": "parity bytes",
    "parity_flops": "parity FLOPs",
    "encoder_flops": "encoder FLOPs",
    "parity_latency": "parity latency",
    "parity_memory": "parity weights",
    "encode_us": "encode µs",
    "decode_us": "decode µs",
    "training_seconds": "training s",
    "systematic": "systematic",
    "scheme": "scheme",
}
IN_MARKDOWN = {
    "available": ".4f",
    "nobody_late": ".4f",
    "degraded": ".4f",
    "degraded_worst": ".4f",
    "agreement": ".4f",
    "accepted_0.98": ".2f",
    "all_k": ".4f",
    "all_k_worst": ".4f",
    "extra_workers": ".2f",
    "parity_bytes": ".2f",
    "parity_flops": ".2f",
    "encoder_flops": ".2f",
    "parity_latency": ".2f",
    "parity_memory": ".2f",
    "encode_us": ".0f",
    "decode_us": ".0f",
    "training_seconds": ".0f",
}
IN_TERMINAL = {name: HEADINGS[name] for name in ("code", "variant", "k", "r", "late", "degraded", "all_k")} | {
    "parity_bytes": "bytes",
    "parity_flops": "FLOPs",
}
GUESS = "guess at random"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write every figure of every row, unrounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(HEADINGS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def chosen_lines(chosen: Sequence[Row], budget: str) -> list[str]:
    """Return lines that name the best code for each k within a budget."""
    if not chosen:
        return [f"No code is within {budget}."]
    lines = [f"Best within {budget}, chosen by A_d on the validation split:", ""]
    for row in chosen:
        named = " ".join(part for part in (f"`code={row['code']}`", row["variant"]) if part)
        lines.append(f"- k = {row['k']}: {named}, A_d {row['degraded']:.4f} on the test split")
    return lines


def write_markdown(
    rows: Sequence[Row], unsupported: Sequence[str], title: str, path: Path, more: Sequence[str] = ()
) -> None:
    """Write the readable table, below it what was left out and why, and more lines."""
    columns = ["code", "k", "r", "late", *IN_MARKDOWN]
    if any(row["variant"] for row in rows):
        columns.insert(1, "variant")
    lines = [f"# {title}", "", EXPLANATION, ""]
    lines.append("| " + " | ".join(HEADINGS[column] for column in columns) + " |")
    lines.append("|" + "---|" * len(columns))
    ordered = sorted(rows, key=_order)
    lines += ["| " + " | ".join(_cell(row, column) for column in columns) + " |" for row in ordered]
    lines += ["", *(f"- left out: {sentence}" for sentence in unsupported)] if unsupported else []
    lines += ["", *more] if more else []
    write_text(path, "\n".join(lines) + "\n")


def to_print(rows: Sequence[Row]) -> Table:
    """Return the most important columns, as a table for the terminal."""
    columns = [column for column in IN_TERMINAL if column != "variant" or any(row["variant"] for row in rows)]
    caption = "r: extra dispatches; bytes and FLOPs: of a group ÷ those of a query and of the deployed model"
    table = Table(caption=caption)
    for column in columns:
        side: JustifyMethod = "left" if column in ("code", "variant") else "right"
        table.add_column(IN_TERMINAL[column], justify=side, overflow="fold")
    for row in sorted(rows, key=_order):
        table.add_row(*(_cell(row, column).partition(" (")[0] for column in columns))
    return table


def _order(row: Row) -> tuple[float, ...]:
    return row["k"], row["late"], -row["all_k"]


def _cell(row: Row, column: str) -> str:
    value = row[column]
    if value is None:
        return ""
    text = format(value, IN_MARKDOWN.get(column, ""))
    if column == "degraded" and row["degraded_spread"] is not None:
        text += f" ± {row['degraded_spread']:.4f}"
    elif column == "degraded" and row["degraded_low"] is not None:
        text += f" ({row['degraded_low']:.4f} to {row['degraded_high']:.4f})"
    return text


EXPLANATION = """\
On the test split, with the same groups for every code; figures are means of the measure in the title. *A_a*: the
deployed model alone. *late*: number of late workers in a group. *nobody late*: all k predictions when all workers
answer. *A_d*: reconstructed predictions only, mean over every position, with its 95 % interval or its standard
deviation over seeds; *agreement*: of these with the deployed model. For codes whose workers all run coded queries,
every prediction is a reconstruction.
*all k*: all k predictions, mean over every set of late workers, and for the worst. *extra dispatches*: runs of a worker
beyond those of the k queries, each of one coded query or batch. *parity bytes* of a group ÷ the bytes of a query;
*parity FLOPs* and *encoder FLOPs* of a group ÷ the FLOPs of one run of the deployed model. *parity latency*: of one
coded query ÷ that of one query of the deployed model, one at a time. *parity weights*: bytes of a parity model's
weights ÷ those of the deployed model. *encode* and *decode*: one group, through the exported TorchScript. Times are of
the machine of the run."""
