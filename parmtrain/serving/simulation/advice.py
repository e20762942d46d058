"""Which of several services to choose: a sentence, and a plot of what there is to choose from."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from parmtrain import drawing
from parmtrain.serving.simulation.latency_report import BEHIND, ServiceRow

TAIL = 99.9  # the percentile of latency that matters
NEAR = 1.1  # tails of up to this times the shortest are as good
ROUNDING = 1e-9
BESIDE = 11  # printer's points between two numbers of instances


def advice(rows: Sequence[ServiceRow], margin: float) -> str:
    """Return a sentence that names the service to choose, and by which rule.

    Args:
        rows: Services and what they did.
        margin: Overall accuracy to give up at most for a shorter tail.
    """
    able = [row for row in rows if not row.outcome.counts.get("refused")]
    if not able:
        return "no advice, since every candidate refuses queries; lower rate=… or raise instances=…"
    known = [(tail, row) for row in able if (tail := row.percentile(TAIL)) is not None]
    if not known:
        return f"no advice, since the {TAIL}th percentile needs queries={round(100 * BEHIND / (100 - TAIL))} or more"
    accuracy = max(row.accuracy or 0.0 for _, row in known) - margin - ROUNDING
    accurate = [(tail, row) for tail, row in known if (row.accuracy or 0.0) >= accuracy]
    longest = NEAR * min(tail for tail, _ in accurate)
    _, _, chosen = min(
        ((sum(row.instances), tail, row) for tail, row in accurate if tail <= longest), key=lambda one: one[:2]
    )
    instances = " + ".join(map(str, chosen.instances))
    return (
        f"advice: {chosen.name} on {instances} instances, the fewest of those whose overall accuracy is within "
        f"margin={margin:g} of the best and whose {TAIL}th percentile is within {NEAR - 1:.0%} of the shortest of these"
    )


def plot_advice(rows: list[ServiceRow], title: str, path: Path) -> None:
    """Plot accuracy against the 99.9th percentile of latency, each mark labelled with its number of instances."""
    families: dict[str, list[ServiceRow]] = {}
    for row in rows:
        families.setdefault(row.name.split()[0], []).append(row)
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    counts: list[tuple[int, tuple[float, float]]] = []
    for number, (family, members) in enumerate(families.items()):
        tails = [row.outcome.percentile(99.9) * 1e3 for row in members]
        accuracies = [row.accuracy or 0.0 for row in members]
        axes.plot(tails, accuracies, "osD^v*P"[number % 7], color=f"C{number % 10}", alpha=0.7, ms=8, label=family)
        counts += [(sum(row.instances), (x, y)) for row, x, y in zip(members, tails, accuracies, strict=True)]
    axes.set(title=title, xlabel="99.9th percentile of latency in ms", ylabel="overall accuracy", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    drawing.settle(figure)
    shifts = drawing.shifts_in(axes, [at for _, at in counts], BESIDE)
    for (count, at), (right, up) in zip(counts, shifts, strict=True):
        axes.annotate(str(count), at, (6 + right, 3 + up), textcoords="offset points", fontsize=6)
    drawing.save(figure, path)
