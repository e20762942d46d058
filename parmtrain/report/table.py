"""The one table that a run ends with."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(metrics: dict[str, Any], folder: Path, console: Console | None = None) -> None:
    """Print the figures of one run and where its files are.

    Args:
        metrics: What ``metrics.json`` holds, or the scores in it alone.
        folder: Where the run was written.
        console: Where to print.
    """
    console = console or Console()
    title = f"{metrics['task']}  code={metrics['code']}  k={metrics['k']}  r={metrics['r']}"
    table = Table(title=title, title_justify="left")
    table.add_column("on the test split")
    table.add_column(metrics["measure"], justify="right")
    for row in _rows(metrics):
        table.add_row(*row)
    console.print(table)
    console.print(f"in {folder}", soft_wrap=True, highlight=False)


def _rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    measure, degraded = metrics["measure"], metrics["degraded"]
    low, high = degraded[f"{measure}_ci95"]
    worst, best = min(degraded["by_position"]), max(degraded["by_position"])
    rows = [
        ("available A_a: the deployed model", f"{metrics['available'][measure]:.4f}"),
        ("degraded A_d: reconstructed predictions", f"{degraded[measure]:.4f}"),
        ("  95 % interval", f"{low:.4f} to {high:.4f}"),
        ("  worst and best missing position", f"{worst:.4f} to {best:.4f}"),
        ("  agreement with the deployed model", f"{degraded['agreement']:.4f}"),
    ]
    rows += [(f"  {name}", f"{degraded[name]:.4f}") for name in metrics["available"] if name != measure]
    for late, figures in metrics["stragglers"].items():
        rows.append((f"degraded A_d, {late} predictions missing", f"{figures['degraded'][measure]:.4f}"))
    rows += [
        (f"overall A_o, {float(share):.0%} unavailable", f"{accuracy:.4f}")
        for share, accuracy in metrics["overall"].items()
    ]
    rows += [
        ("all k predictions, nobody late", f"{metrics['nobody_late'][measure]:.4f}"),
        ("all k predictions, one straggler anywhere", f"{metrics['all_k'][measure]:.4f}"),
        ("  at the worst worker", f"{metrics['all_k']['worst'][measure]:.4f}"),
        ("default answer in place of a late one", f"{metrics['default'][measure]:.4f}"),
    ]
    if "cost" in metrics:
        cost = metrics["cost"]
        rows.append(("cost: parity bytes ÷ query bytes", f"{cost['parity_bytes']:.2f}"))
        rows.append(("cost: extra workers", f"{cost['extra_workers']:.0%}"))
        if cost["parity_flops"] is not None:
            rows.append(("cost: parity FLOPs ÷ FLOPs of F", f"{cost['parity_flops']:.2f}"))
    return rows
