"""A data set larger than memory: training from a memory-mapped file ÷ training from memory, and the memory it takes.

    python experiments/speed/scale.py FOLDER [millions of queries]

Writes a file of 10 million random 28×28 images (7.8 GB) to FOLDER, trains the perceptron's parity model on all of it
for an epoch and on its first million in memory, in turn, and states queries per second and the memory that belongs to
the process alone (``RssAnon``): pages of the file are the system's, which takes them back as it needs to.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from parmtrain.codes import Concat, Heads
from parmtrain.deployed import DeployedModel
from parmtrain.evaluation.predictions import predict_all
from parmtrain.models import MLP
from parmtrain.tasks.arrays import MappedQueries, mapped
from parmtrain.tasks.images import ImageInput
from parmtrain.tasks.queries import Splits, TensorQueries
from parmtrain.training.callbacks import Bar, History
from parmtrain.training.fit import EXPECTED, quiet
from parmtrain.training.groups import GroupsDataModule
from parmtrain.training.parity_module import ParityModule

SHAPE, GROUPS, MILLION = (1, 28, 28), 512, 1_000_000


def write(path: Path, queries: int) -> None:
    """Write random images, a tenth of a million at a time."""
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (queries, *SHAPE))
    random = np.random.default_rng(0)
    for start in track(range(0, queries, MILLION // 10), description="writing"):
        file[start : start + MILLION // 10] = random.integers(0, 256, (MILLION // 10, *SHAPE), np.uint8)


def train(queries: TensorQueries, folder: Path) -> tuple[float, float]:
    """Predict and train on all queries once; return queries per second of training and private memory in GB."""
    before = private_memory()
    deployed, prepare = DeployedModel(MLP(SHAPE, 10)), ImageInput(SHAPE)
    known = predict_all(deployed, queries, prepare, folder / "cache", "predicting")
    module = ParityModule(deployed, Heads(Concat(k=2)), [MLP(SHAPE, 20)])
    few = queries.subset(torch.arange(4))
    history = History()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[history, Bar()],
    )
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message)
        data = GroupsDataModule(Splits(queries, few, few), 2, GROUPS, 0, prepare, None, Splits(known, known[:4], None))
        trainer.fit(module, data)
    return len(queries) / history.seconds, private_memory() - before


def private_memory() -> float:
    """Return the memory of this process that no file backs, in GB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1e6


def main(folder: Path, millions: int) -> None:
    quiet()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{millions}_million_queries.npy"
    if not path.exists():
        begun = time.perf_counter()
        write(path, millions * MILLION)
        print(f"written in {time.perf_counter() - begun:.0f} s")
    stored = mapped(path)
    labels = torch.zeros(len(stored), dtype=torch.long)
    table = Table("queries", "queries/s", "private memory, GB", title=f"{torch.get_num_threads()} threads")
    speeds = []
    for name, queries in (
        ("1 million in memory", TensorQueries(stored[:MILLION].clone(), labels[:MILLION])),
        (f"{millions} million in a file", MappedQueries(stored, labels)),
        ("1 million in a file", MappedQueries(stored[:MILLION], labels[:MILLION])),
        ("1 million in memory, once more", TensorQueries(stored[:MILLION].clone(), labels[:MILLION])),
    ):
        speed, memory = train(queries, folder)
        speeds.append(speed)
        table.add_row(name, f"{speed:,.0f}", f"{memory:.2f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    print(f"the file ÷ memory: {speeds[1] / ((speeds[0] + speeds[3]) / 2):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
