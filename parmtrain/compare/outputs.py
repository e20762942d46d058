"""What a comparison writes: its tables and its plot."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parmtrain.compare import plot, table
from parmtrain.compare.budget import Budget, best
from parmtrain.compare.rows import rows_of
from parmtrain.compare.table import Row
from parmtrain.metrics.measures import AGREEMENT
from parmtrain.outputs import TABLE

log = logging.getLogger(__name__)


def write(
    results: Sequence[tuple[str, dict[str, Any]]], unsupported: Sequence[str], budget: Budget, study: Path
) -> list[Row]:
    """Write ``table.md``, ``table.csv`` and ``codes.png``, and log the best code within a budget.

    Args:
        results: A variant and the content of ``metrics.json`` for each run.
        unsupported: What was left out, each with its reason.
        budget: The most that a group may take.
        study: Folder to write.

    Returns:
        The rows of the table.
    """
    rows, metrics = rows_of(results), results[0][1]
    every = [row["available"] for row in rows]
    available = min(every)
    spread = f"{available:.4f}" if f"{available:.4f}" == f"{max(every):.4f}" else f"{available:.4f} to {max(every):.4f}"
    scored = f"A_a = {spread}"
    if metrics["measure"] == AGREEMENT:
        scored = "without labels: A_d is the agreement with the deployed model's own predictions"
    title = f"{metrics['task']}: codes compared, {metrics['measure']}, {scored}"
    table.write_csv(rows, study / TABLE)
    chosen = best(rows, budget)
    table.write_markdown(rows, unsupported, title, study / "table.md", table.chosen_lines(chosen, str(budget)))
    plot.accuracy_against_resources(rows, metrics["measure"], f"{metrics['task']}, {scored}", study / "codes.png")
    if not chosen:
        log.info("no code is within %s", budget)
    for row in chosen:
        named = " ".join(part for part in (f"code={row['code']}", row["variant"]) if part)
        about = f"k={row['k']} {named}, A_d {row['validation']:.4f} on the validation split"
        log.info("best within %s: %s", budget, about)
    return rows
