"""Time to accuracy: training seconds of 0.45 of an epoch of ours ÷ those of 12 epochs of the paper's recipe.

    python experiments/speed/time_to_accuracy.py FOLDER task=fashion_mnist data.root=… deployed.path=…

Runs both in turn for three seeds and states seconds of training, validation left out, and what each reaches on the
validation split. What follows FOLDER is given to both.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import parmtrain

RECIPES = {
    "the paper's recipe, 12 epochs": ("experiment=parm_original", "trainer.max_epochs=12"),
    "concat_heads, 0.45 of an epoch": (
        "code=concat_heads",
        "optim.lr=0.008",
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=0.45",
    ),
}


def main(folder: Path, overrides: list[str]) -> None:
    table = Table("seed", "recipe", "seconds", "A_d on validation", "÷ the first")
    for seed in range(3):
        taken = []
        for name, recipe in RECIPES.items():
            cfg = parmtrain.compose(*overrides, *recipe, f"seed={seed}", "overwrite=true")
            metrics = parmtrain.run(cfg, folder / f"{recipe[0].partition('=')[2]}-seed{seed}").metrics
            taken.append(metrics["training"]["seconds"])
            reached = metrics["validation"]["degraded_accuracy"]
            table.add_row(str(seed), name, f"{taken[-1]:.2f}", f"{reached:.4f}", f"{taken[-1] / taken[0]:.3f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
