"""Plots: one style, labels that do not hide each other, ticks that mean something."""

from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from parmtrain import drawing
from parmtrain.compare.plot import accuracy_against_resources
from parmtrain.label_layout import Box, shifts
from parmtrain.marks import SIZE, shape
from parmtrain.report.plots import training_curves
from parmtrain.result import Result
from parmtrain.serving.simulation.advice import plot_advice
from parmtrain.serving.simulation.latency_report import ServiceRow, plot_latency
from parmtrain.serving.simulation.simulator import Outcome


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keep the figures that are saved, and write nothing."""
    saved: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        drawing.settle(figure)
        saved.append(figure)

    monkeypatch.setattr("parmtrain.drawing.save", keep)
    monkeypatch.setattr("parmtrain.report.plots.save", keep)
    return saved


def service(name: str, instances: int, tail: float, accuracy: float) -> ServiceRow:
    return ServiceRow(name, (instances,), Outcome(np.full(50, tail), np.zeros(50, np.int8), 0.0, 0.0, {}), accuracy)


def code(name: str, k: int, degraded: float, **more: Any) -> dict[str, Any]:
    common = {"k": k, "r": 1, "late": 1, "systematic": True, "available": 0.99, "variant": ""}
    costs = {"parity_bytes": 1.0, "parity_flops": 1.0, "encoder_flops": 0.0}
    return {"code": name, "degraded": degraded, "validation": degraded, **common, **costs, **more}


def extents(texts: Any) -> list[Bbox]:
    return [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]


def apart(boxes: list[Bbox]) -> bool:
    return not any(Bbox.intersection(one, other) for one, other in combinations(boxes, 2))


@pytest.mark.slow
def test_numbers_of_instances_do_not_hide_each_other(figures: list[Figure], tmp_path: Path) -> None:
    rows = [service(f"code{n % 20} k=2", 12 + n // 20, 0.03 + 0.0001 * (n % 3), 0.9) for n in range(60)]
    plot_advice(rows, "crowded", tmp_path / "advice.png")
    (axes,) = figures[0].axes
    numbers = extents(axes.texts)
    assert len(numbers) == 60
    assert apart(numbers)
    assert all(axes.bbox.padded(SIZE).contains(box.x0, box.y0) for box in numbers)


@pytest.mark.slow
def test_codes_of_a_long_comparison_do_not_hide_each_other(figures: list[Figure], tmp_path: Path) -> None:
    long = "loss=smooth_l1_with_a_long_name training.averaging=exponential code.hidden=1024"
    rows = [code(f"my_code_{n}", k, 0.5, variant=long if n % 3 else "") for n in range(30) for k in (2, 8)]
    accuracy_against_resources(rows, "accuracy", "made up, A_a = 0.99", tmp_path / "codes.png")
    (figure,) = figures
    for axes in figure.axes:
        numbers = extents(axes.texts)
        assert len(numbers) == 30
        assert apart(numbers)
    legends = [legend for axes in figure.axes if (legend := axes.get_legend()) is not None]
    assert len(legends) == 2
    panels = [axes.bbox for axes in figure.axes] + [legend.get_window_extent() for legend in legends]
    assert apart(panels)
    assert min(axes.bbox.width for axes in figure.axes) > figure.bbox.width / 8
    for axes in figure.axes[3:]:
        low, high = axes.get_xlim()
        ticks = [tick.label1 for tick in axes.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert apart(extents([*ticks, axes.xaxis.label]))
    assert apart(extents(axes.xaxis.label for axes in figure.axes))


@pytest.mark.parametrize("count", [1, 2, 3, 17, 100])
def test_epochs_are_whole_and_the_legend_is_beside_the_data(count: int, figures: list[Figure], tmp_path: Path) -> None:
    names = ("train/loss", "val/loss", "val/degraded_accuracy", "val/agreement")
    epochs = [{"epoch": float(n), **dict.fromkeys(names, 0.9 / (n + 1))} for n in range(count)]
    training_curves(epochs, "accuracy", tmp_path / "training.png")
    for axes in figures[0].axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) and 1 <= tick <= count for tick in ticks)
        assert axes.get_ylabel()
        legend = axes.get_legend()
        assert legend is not None
        title = extents([axes._left_title])  # type: ignore[attr-defined]
        assert apart([axes.bbox, legend.get_window_extent(), *title])


def test_lines_are_told_apart_without_colours(figures: list[Figure], tmp_path: Path) -> None:
    rows = [service(f"strategy {n}", 12, 0.03, 0.9) for n in range(20)]
    plot_latency({"k = 2": rows}, tmp_path / "latency.png")
    (axes,) = figures[0].axes
    looks = [(to_hex(line.get_color()), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert len(set(looks)) == 20
    assert all(len({look[1:] for look in looks[first : first + 8]}) == 8 for first in (0, 8))


def test_looks_and_shapes_differ() -> None:
    assert len({tuple(drawing.look(number).values()) for number in range(64)}) == 64
    assert len({tuple(shape(number).values()) for number in range(64)}) == 64


@pytest.mark.slow
def test_pictures_have_the_style_whatever_is_set_outside(finished: Result, figures: list[Figure]) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "legend.frameon": True}):
        figure = finished.picture()
        assert matplotlib.rcParams["font.size"] == 30
    drawing.settle(figure)
    query, *_, prediction = figure.axes
    assert query.get_title().splitlines()[0] == "query 1, lost"
    assert query.get_title().splitlines()[1].startswith("true class: ")
    assert float(query.title.get_fontsize()) <= 11
    assert "the true one is bold" in prediction.get_xlabel()


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 20)), max_size=40))
def test_no_mark_hides_another(places: list[tuple[float, float]]) -> None:
    boxes = [Box(x, y, 15, 15) for x, y in places]
    moved = [box._replace(x=box.x + right, y=box.y + up) for box, (right, up) in zip(boxes, shifts(boxes), strict=True)]
    assert not any(one.overlaps(other) for one, other in combinations(moved, 2))
