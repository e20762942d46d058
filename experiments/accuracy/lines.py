"""One change at a time: what each does to A_d on the *validation* split, mean and spread over three seeds.

    python experiments/accuracy/lines.py FOLDER task=fashion_mnist data.root=… deployed.path=…

The arguments after the folder hold for every line. What is there is not run again; ``FOLDER/lines.csv`` has all.
"""

import csv
import json
import statistics
import sys
from pathlib import Path

from parmtrain.compare import compare
from parmtrain.files import replacing

HERE = "experiments.accuracy"
COMMON = ["seed=0,1,2", "trainer.max_epochs=30"]
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
    "concat_heads, checkerboard of pixels": [*HEADS, "k=2,4", f"{MIXING}.Checkerboard"],
    "concat_heads, checkerboard of 4×4 patches": [*HEADS, "k=2,4", f"{MIXING}.Checkerboard", "+code.code.square=4"],
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
    "sum_corrected, attention": [*CORRECTED, "k=2,4", f"code._target_={HERE}.decoders.Attention"],
}
WARM = {  # begins with the parity model that another line trained for k=2
    "concat_heads, begun with the one for k=2": ("concat_heads", HEADS),
    "sum, begun with the one for k=2": ("sum", SUM),
}


def runs(folder: Path) -> list[tuple[dict[str, object], Path]]:
    """Return the metrics of each run of a comparison, and its folder."""
    found = sorted(folder.glob("runs/*/metrics.json"))
    return [(json.loads(path.read_text(encoding="utf-8")), path.parent) for path in found]


def figures(folder: Path) -> dict[int, tuple[float, float, int]]:
    """Return for each k the mean of A_d on validation, its standard deviation over seeds, and the seeds."""
    values: dict[int, list[float]] = {}
    for metrics, _ in runs(folder):
        values.setdefault(metrics["k"], []).append(metrics["validation"]["degraded_accuracy"])
    return {
        k: (statistics.mean(some), statistics.stdev(some) if len(some) > 1 else 0.0, len(some))
        for k, some in sorted(values.items())
    }


def warm(folder: Path, source: Path, overrides: list[str]) -> None:
    """Train for k=4 from what was trained for k=2 with the same seed."""
    for metrics, run in runs(source):
        if metrics["k"] == 2:
            begun = f"+parity.model.path='{run / 'export' / 'parity_model.ts'}'"
            seed = f"seed={metrics['seed']}"
            compare([*overrides, *AGAIN, begun, "k=4", seed, COMMON[1]], folder / str(metrics["seed"]))


def main(study: Path, common: list[str]) -> None:
    table: list[tuple[str, int, str, str, int]] = []

    def add(line: str, found: dict[int, tuple[float, float, int]]) -> None:
        table.extend((line, k, f"{mean:.4f}", f"{spread:.4f}", seeds) for k, (mean, spread, seeds) in found.items())
        with replacing(study / "lines.csv") as new, new.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("line", "k", "A_d on validation", "spread", "seeds"), *table])

    for line, overrides in LINES.items():
        compare([*common, *COMMON, *overrides], study / line)
        add(line, figures(study / line))
    for line, (source, overrides) in WARM.items():
        warm(study / line, study / source, [*common, *overrides])
        each = [figures(study / line / str(seed)) for seed in range(3)]
        values = [found[4][0] for found in each]
        add(line, {4: (statistics.mean(values), statistics.stdev(values), len(values))})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
