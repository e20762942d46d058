"""One change at a time: what each does to A_d on the *validation* split, mean and spread over three seeds.

    python -m experiments.accuracy.lines FOLDER task=fashion_mnist data.root=… deployed.path=…

The arguments after the folder hold for every line. What is there is not run again; ``FOLDER/lines.csv`` has all.
"""

import csv
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from parmtrain.compare import compare
from parmtrain.files import replacing

HERE = "experiments.accuracy"
SEEDS = (0, 1, 2)
EPOCHS = "trainer.max_epochs=30"
COMMON = [f"seed={','.join(map(str, SEEDS))}", EPOCHS]
HEADS = ["code=concat_heads"]
SUM = ["code=sum"]
CORRECTED = ["code=sum_corrected"]
MIXING = f"code.code._target_={HERE}.mixings"
FLIPS = "task.augment={_target_:parmtrain.tasks.images.CropFlip,padding:2}"
AGAIN = ["parity=mlp", "parity.start=random", f"parity.model._target_={HERE}.starts.continued"]

LINES = {
    "concat_heads": [*HEADS, "k=2,4"],
    "concat_heads, random start": [*HEADS, "k=2,4", "parity.start=random"],
    "concat_heads, cosine": [*HEADS, "k=2,4", "scheduler=cosine"],
    "concat_heads, flips and shifts, teacher on the augmented query": [*HEADS, "k=2", FLIPS],
    "concat_heads, flips and shifts, teacher on the original query": [*HEADS, "k=2", FLIPS, "teacher=unaugmented"],
    "concat_heads, pixels dealt out": [*HEADS, "k=2,4", f"{MIXING}.Interleaved"],
    "checkerboard_heads": ["code=checkerboard_heads", "k=2,4"],
    "concat_heads, 4×4 patches": [*HEADS, "k=2", f"{MIXING}.Patches"],
    "concat_heads, corrected one by one": [
        *CORRECTED,
        "k=2,4",
        f"code._target_={HERE}.decoders.OneByOne",
        f"code.code._target_={HERE}.decoders.concat_heads",
    ],
    "sum": [*SUM, "k=2,4"],
    "sum, squared error": [*SUM, "k=2", "loss=decoded_mse"],
    "sum, squared error of centred scores": [*SUM, "k=2", "loss=mse", f"loss._target_={HERE}.centred.centred_mse"],
    "sum_corrected": [*CORRECTED, "k=2,4"],
    "sum_corrected, one by one": [*CORRECTED, "k=2,4", f"code._target_={HERE}.decoders.OneByOne"],
    "sum_attention": ["code=sum_attention", "k=2,4"],
}
WARM = {  # begins with the parity model that another line trained for k=2
    "concat_heads, begun with the one for k=2": ("concat_heads", HEADS),
    "sum, begun with the one for k=2": ("sum", SUM),
}


def runs(folder: Path) -> list[tuple[dict[str, Any], Path]]:
    """Return the metrics of each run of a comparison, and its folder."""
    found = sorted(folder.glob("runs/*/metrics.json"))
    return [(json.loads(path.read_text(encoding="utf-8")), path.parent) for path in found]


def figures(line: str, found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for each k the mean of A_d on validation, its standard deviation over seeds, and what a decode takes."""
    for k in sorted({metrics["k"] for metrics in found}):
        some = [metrics for metrics in found if metrics["k"] == k]
        values = [metrics["validation"]["degraded_accuracy"] for metrics in some]
        yield {
            "line": line,
            "k": k,
            "A_d on validation": f"{statistics.mean(values):.4f}",
            "spread": f"{statistics.stdev(values):.4f}",
            "seeds": len(values),
            "decode µs": f"{statistics.median(metrics['timing']['decode_us'] for metrics in some):.0f}",
        }


def warm(folder: Path, source: Path, overrides: list[str]) -> None:
    """Train for k=4 from what was trained for k=2 with the same seed."""
    for metrics, run in runs(source):
        if metrics["k"] == 2:
            begun = f"+parity.model.path='{run / 'export' / 'parity_model.ts'}'"
            seed = f"seed={metrics['seed']}"
            compare([*overrides, *AGAIN, begun, "k=4", seed, EPOCHS], folder / str(metrics["seed"]))


def main(study: Path, common: list[str]) -> None:
    table: list[dict[str, Any]] = []

    def add(line: str, folders: Iterable[Path]) -> None:
        table.extend(figures(line, [metrics for folder in folders for metrics, _ in runs(folder)]))
        with replacing(study / "lines.csv") as new, new.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)

    for line, overrides in LINES.items():
        compare([*common, *COMMON, *overrides], study / line)
        add(line, [study / line])
    for line, (source, overrides) in WARM.items():
        warm(study / line, study / source, [*common, *overrides])
        add(line, [study / line / str(seed) for seed in SEEDS])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
