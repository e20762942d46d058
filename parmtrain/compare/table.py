"""The rows of a comparison, and how to write them."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from parmtrain.files import write_text
from parmtrain.metrics.functional import accuracy_with_one_straggler

Row = dict[str, Any]

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


def rows_of(results: Iterable[tuple[str, dict[str, Any]]]) -> list[Row]:
    """Return one row for each code, k, r, variant and number of late workers: means over seeds.

    For each k and deployed model, one more row has the score of any systematic code with one extra worker if it guesses
    the lost prediction.

    Args:
        results: A variant and the content of ``metrics.json`` for each run.
    """
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for variant, metrics in results:
        runs[metrics["code"], metrics["k"], metrics["r"], variant].append(metrics)
    rows: list[Row] = []
    guessed: dict[tuple[int, float], Row] = {}
    for (code, k, r, variant), same in runs.items():
        scheme = json.dumps(same[0]["scheme"]) if "scheme" in same[0] else ""  # read by advise
        measure = same[0]["measure"]
        about = {
            "code": code,
            "k": k,
            "r": r,
            "variant": variant,
            "seeds": len(same),
            "available": mean(run["available"][measure] for run in same),
            "scheme": scheme,
            "systematic": (same[0].get("scheme") or {}).get("systematic", True),
        }
        validated = _mean((run["validation"] or {}).get(f"degraded_{measure}") for run in same)
        rows.append({**about, "late": 1, "validation": validated, **_accuracies(same, measure), **_costs(same)})
        for late in same[0]["stragglers"]:
            more = [metrics["stragglers"][late] | {"nobody_late": metrics["nobody_late"]} for metrics in same]
            rows.append({**about, "late": int(late), "validation": None, **_accuracies(more, measure), **_costs(same)})
        guess = _guess(k, variant, same[0])
        guessed.setdefault((k, guess["available"]), guess)
    alone = len({available for _, available in guessed}) == 1
    return rows + [row | {"variant": "" if alone else row["variant"]} for _, row in sorted(guessed.items())]


def _accuracies(runs: Sequence[dict[str, Any]], measure: str) -> Row:
    def over_runs(part: str, figure: str) -> float:
        return float(mean(run[part][figure] for run in runs))

    degraded = [run["degraded"][measure] for run in runs]
    return {
        "nobody_late": over_runs("nobody_late", measure),
        "degraded": mean(degraded),
        "degraded_low": mean(run["degraded"][f"{measure}_ci95"][0] for run in runs),
        "degraded_high": mean(run["degraded"][f"{measure}_ci95"][1] for run in runs),
        "degraded_spread": stdev(degraded) if len(runs) > 1 else None,
        "degraded_worst": mean(min(run["degraded"]["by_position"]) for run in runs),
        "agreement": over_runs("degraded", "agreement"),
        "all_k": over_runs("all_k", measure),
        "all_k_low": mean(run["all_k"][f"{measure}_ci95"][0] for run in runs),
        "all_k_high": mean(run["all_k"][f"{measure}_ci95"][1] for run in runs),
        "all_k_worst": mean(run["all_k"]["worst"][measure] for run in runs),
        "unrecoverable": over_runs("all_k", "unrecoverable"),
    }


def _costs(runs: Sequence[dict[str, Any]]) -> Row:
    return {
        "parity_memory": None,
        **runs[0]["cost"],
        "parity_latency": _mean(run["timing"].get("parity_latency") for run in runs),
        "encode_us": mean(run["timing"]["encode_us"] for run in runs),
        "decode_us": mean(run["timing"]["decode_us"] for run in runs),
        "training_seconds": mean(run["training"]["seconds"] for run in runs),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is missing."""
    every = list(values)
    return None if None in every else mean(value for value in every if value is not None)


def _guess(k: int, variant: str, run: dict[str, Any]) -> Row:
    available, default = (run[part][run["measure"]] for part in ("available", "default"))
    free = dict.fromkeys(HEADINGS)
    return free | {
        "code": GUESS,
        "k": k,
        "r": 1,
        "variant": variant,
        "available": available,
        "late": 1,
        "nobody_late": available,
        "degraded": default,
        "all_k": accuracy_with_one_straggler(available, default, k),
        "extra_workers": 1 / k,
    }


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
        table.add_column(IN_TERMINAL[column], justify="left" if column in ("code", "variant") else "right")
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
