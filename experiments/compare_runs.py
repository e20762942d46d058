"""Compare finished runs: mean and spread over seeds of each task, code, k and recipe below the given folders.

The table of the image codes on Fashion-MNIST, three seeds each, was made by

    python -m parmtrain -m task=fashion_mnist data.root=… deployed.path=… trainer.max_epochs=12 seed=0,1,2 \
        code=sum k=2,3,4 hydra.sweep.dir=multirun/sum
    python -m parmtrain -m task=fashion_mnist data.root=… deployed.path=… trainer.max_epochs=12 seed=0,1,2 \
        code=concat k=2,4 hydra.sweep.dir=multirun/concat
    python experiments/compare_runs.py multirun
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table


def finished_runs(folders: list[Path]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    runs: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.rglob("metrics.json")):
        metrics, cfg = json.loads(path.read_text()), OmegaConf.load(path.parent / "config.yaml")
        recipe = f"{cfg.loss._target_.rpartition('.')[2]}, start {cfg.parity.start}"
        runs[metrics["task"], metrics["code"], str(metrics["k"]), recipe].append(metrics)
    return runs


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def show(folders: list[Path]) -> None:
    columns = ("task", "code", "k", "recipe", "seeds", "A_a", "A_d", "agreement", "all k, one straggler", "queries/s")
    table = Table(*columns)
    for key, runs in sorted(finished_runs(folders).items()):
        table.add_row(
            *key,
            str(len(runs)),
            f"{runs[0]['available']['accuracy']:.4f}",
            spread([run["degraded"]["accuracy"] for run in runs]),
            spread([run["degraded"]["agreement"] for run in runs]),
            spread([run["all_k"]["accuracy"] for run in runs]),
            f"{statistics.mean(run['training']['queries_per_second'] for run in runs):,.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    show([Path(folder) for folder in sys.argv[1:]])
