"""Tables and records of comparisons that a user has in a folder before a mistake, whole or damaged."""

import json
from pathlib import Path

CELLS = {
    "code": "sum",
    "k": "2",
    "r": "1",
    "late": "1",
    "nobody_late": "0.9",
    "degraded": "0.8",
    "all_k": "0.85",
    "parity_flops": "1.0",
}


def table(folder: Path, separator: str = ",") -> None:
    from parmtrain.codes.scheme import erasure_code

    cells = {**CELLS, "scheme": '"' + json.dumps(erasure_code(2, 1).to_json()).replace('"', '""') + '"'}
    (folder / "t.csv").write_text(separator.join(cells) + "\n" + separator.join(cells.values()) + "\n")


def table_with_semicolons(folder: Path) -> None:
    table(folder, ";")


def advice_folder(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "table.csv").write_text("strategy,instances\nnone,12\n")
    (folder / "there" / "advice.png").write_text("a plot")


def short_table(folder: Path) -> None:
    (folder / "t.csv").write_text(",".join([*CELLS, "scheme"]) + "\nsum,2\n")


def _study_with(folder: Path, text: str) -> None:
    (metrics,) = folder.glob("study/runs/*/metrics.json")
    metrics.write_text(text)


def study_with_text(folder: Path) -> None:
    _study_with(folder, "{")


def study_with_nothing(folder: Path) -> None:
    _study_with(folder, "{}")


def study_with_nan(folder: Path) -> None:
    (metrics,) = folder.glob("study/runs/*/metrics.json")
    content = json.loads(metrics.read_text())
    content["degraded"]["accuracy"] = float("nan")
    _study_with(folder, json.dumps(content))
