"""The table printed at the end of a run."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from parmtrain.command import Terminal
from parmtrain.evaluation.scores import Scores


def show(
    title: str,
    scores: Scores,
    folder: Path | None = None,
    cost: Mapping[str, float | None] | None = None,
    console: Console | None = None,
) -> None:
    """Print the figures of one run, and where its files are, if any were written.

    Args:
        title: What was scored.
        scores: Scores on the test split.
        folder: Folder that was written.
        cost: Costs of the code, if they were measured.
        console: Console to print to.
    """
    console = console or Terminal()
    table = Table(title=title, title_justify="left")
    table.add_column("on the test split")
    table.add_column(scores.measure, justify="right")
    for row in [*_accuracies(scores), *_costs(cost or {})]:
        table.add_row(*row)
    console.print(table)
    if folder is not None:
        console.print(f"in {folder}", soft_wrap=True, highlight=False)


def title_of(task: str, code: str, k: int, r: int) -> str:
    """Return the title of a run's table.

    Example:
        >>> title_of("digits", "sum", 2, 1)
        'digits  code=sum  k=2  r=1'
    """
    return f"{task}  code={code}  k={k}  r={r}"


def _accuracies(scores: Scores) -> list[tuple[str, str]]:
    measure, degraded, all_k = scores.measure, scores.degraded, scores.all_k
    positions = degraded.by_position[measure]
    others = [name for name in degraded.values if name != measure]
    word = "degraded A_d" if scores.labelled else "reconstructed"
    of_labels = [
        ("available A_a: the deployed model", f"{scores.available[measure]:.4f}"),
        ("degraded A_d: reconstructed predictions", f"{degraded.main:.4f}"),
    ]
    own = [("reconstructed, against the deployed model's own", f"{degraded.main:.4f}")]
    agreement = ("  agreement with the deployed model", f"{degraded.agreement:.4f}")
    overall = [
        (f"overall A_o, {share:.0%} unavailable", f"{scores.overall(share):.4f}") for share in scores.unavailable
    ]
    return [
        *(of_labels if scores.labelled else own),
        ("  95 % interval", "{:.4f} to {:.4f}".format(*degraded.ci95)),
        ("  worst and best missing position", f"{min(positions):.4f} to {max(positions):.4f}"),
        *([agreement] if scores.labelled else []),
        *((f"  {name}", f"{degraded.values[name]:.4f}") for name in others),
        *(
            (f"{word}, {number} predictions missing", f"{late.degraded.main:.4f}")
            for number, late in enumerate(scores.late[1:], 2)
        ),
        *((f"{word}, groups of {size}", f"{figures.main:.4f}") for size, figures in scores.partial.items()),
        *(overall if scores.labelled else []),
        *_accepted(scores),
        ("all k predictions, no straggler", f"{scores.nobody_late:.4f}"),
        ("all k predictions, one straggler anywhere", f"{all_k.main:.4f}"),
        ("  at the worst worker", f"{all_k.worst:.4f}"),
        ("default answer in place of a late one", f"{scores.default[measure]:.4f}"),
    ]


def _accepted(scores: Scores) -> list[tuple[str, str]]:
    """Return rows on what the configured promise accepts of the reconstructions with one late worker."""
    if not scores.certainty or scores.promised is None:
        return []
    given = scores.certainty[0].promised[scores.promised]
    rows = [(f"accepted, with an agreement of {scores.promised:g} promised", f"{given.share:.0%}")]
    if given.agreement is None:
        return [(rows[0][0], "none")]
    labelled = f"  their {scores.measure}, and F's on the same queries", f"{given.value:.4f}, {given.own_value:.4f}"
    return [*rows, ("  their agreement", f"{given.agreement:.4f}"), *([labelled] if scores.labelled else [])]


def _costs(cost: Mapping[str, float | None]) -> list[tuple[str, str]]:
    named = {
        "parity_bytes": ("cost: parity bytes ÷ query bytes", "{:.2f}"),
        "extra_workers": ("cost: extra workers per query", "{:.0%}"),
        "parity_flops": ("cost: parity FLOPs ÷ FLOPs of F", "{:.2f}"),
        "parity_latency": ("cost: parity latency ÷ latency of F", "{:.2f}"),
        "parity_memory": ("cost: parity weights ÷ weights of F", "{:.2f}"),
    }
    return [(words, form.format(cost[name])) for name, (words, form) in named.items() if cost.get(name) is not None]
