"""What parmtrain adds to the arithmetic: training, coding and start-up, each ÷ the least that the same work takes.

    python experiments/speed/measure.py [training|coding|startup …]

Every row is a ratio of two things measured in turn, several times over, in this one process; the table states the
median ratio and its range. Training: queries per second of Lightning's loop ÷ those of a bare PyTorch loop that does
the same work on the same tensors. Coding: time to encode ÷ time to copy what is read and written
(`torch.Tensor.copy_`); decoding in µs. Start-up: `python -m parmtrain --help` ÷ `python -c "import torch"`.
"""

import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from timeit import Timer

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from parmtrain.bundle.torchscript import to_torchscript
from parmtrain.codes import Code, Concat, Corrected, Heads, Linear, Stack, Sum
from parmtrain.deployed import DeployedModel
from parmtrain.models import MLP, resnet18
from parmtrain.tasks.images import ImageInput
from parmtrain.tasks.queries import Splits, TensorQueries
from parmtrain.training import losses
from parmtrain.training.callbacks import Bar, FiniteLoss, History, ReproducibleEpochs
from parmtrain.training.fit import EXPECTED, quiet
from parmtrain.training.groups import GroupBatch, GroupSampler, GroupsDataModule, prepare_batch
from parmtrain.training.parity_module import ParityModule

Row = tuple[str, str, float, float, float]
ROUNDS = 3
SHAPES = {"3×32×32": (3, 32, 32), "3×224×224": (3, 224, 224), "1×161×101": (1, 161, 101)}


def ratios(title: str, unit: str, one: Callable[[], float], other: Callable[[], float], rounds: int = ROUNDS) -> Row:
    """Return the median, least and greatest ratio of two measurements, taken in turn after one that does not count."""
    one(), other()
    taken = [one() / other() for _ in range(rounds)]
    return title, unit, median(taken), min(taken), max(taken)


def training() -> Iterator[Row]:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, build, shape, groups, queries in (
            ("MLP", MLP, (1, 28, 28), 64, 30_000),
            ("MLP", MLP, (1, 28, 28), 512, 60_000),
            ("ResNet-18", resnet18, (1, 28, 28), 16, 96),
        ):
            lightning, bare = loops(build(shape, 10), build(shape, 10), shape, groups, queries)
            yield ratios(f"{name}, {groups} groups, {threads} threads", "queries/s", lightning, bare)


def loops(
    network: nn.Module, parity: nn.Module, shape: tuple[int, ...], groups: int, queries: int
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return two functions that train for an epoch and return queries per second: Lightning's loop, and a bare one."""
    stored = TensorQueries(
        torch.randint(0, 256, (queries, *shape), dtype=torch.uint8), torch.randint(0, 10, (queries,))
    )
    few = stored.subset(torch.arange(4))
    known, prepare = torch.randn(queries, 10), ImageInput(shape)
    optim = partial(torch.optim.Adam, lr=1e-3, fused=True)
    module = ParityModule(DeployedModel(network), Sum(k=2), [parity], loss=losses.kl, optim=optim)

    def lightning() -> float:
        history = History()
        data = GroupsDataModule(Splits(stored, few, few), 2, groups, 0, prepare, None, Splits(known, known[:4], None))
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[history, ReproducibleEpochs(0), FiniteLoss(None), Bar()],  # type: ignore[arg-type]
        )
        with warnings.catch_warnings():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message)
            trainer.fit(module, data)
        return queries / history.seconds

    def bare() -> float:
        optimizer = optim(module.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        module.train()
        begun = time.perf_counter()
        for index in GroupSampler(queries, 2, groups, seed=0):
            images, labels = stored[index]
            batch = prepare_batch(GroupBatch(images, labels, known[index]), prepare)
            optimizer.zero_grad()
            module.loss(module.coded_groups(batch)).backward()
            optimizer.step()
            schedule.step()
        return queries / (time.perf_counter() - begun)

    return lightning, bare


def coding() -> Iterator[Row]:
    torch.set_num_threads(1)
    for shape_name, shape in SHAPES.items():
        for batch in (1, 32, 256):
            for code in (Sum(2), Concat(2), Stack(2)):
                yield encoding(code, shape_name, shape, batch)
    for decoded in (Sum(2), Sum(4), Linear(4, 2), Heads(Concat(2)), Corrected(Sum(2), 1000)):
        yield decoding(decoded, 1000)


@torch.inference_mode()
def encoding(code: Code, shape_name: str, shape: tuple[int, ...], batch: int) -> Row:
    queries = torch.rand(batch, code.k, *shape)
    encoder = to_torchscript(code.encoder, (queries[:1],))
    coded = encoder(queries)
    read, written = torch.empty_like(queries), torch.empty_like(coded)

    def copy() -> Tensor:
        read.copy_(queries)
        return written.copy_(coded)

    return ratios(
        f"encode, {code.name}, {batch} × {shape_name}",
        "time ÷ copy",
        partial(seconds, lambda: encoder(queries)),
        partial(seconds, copy),
    )


@torch.inference_mode()
def decoding(code: Code, classes: int) -> Row:
    outputs, arrived = torch.rand(1, code.n, code.heads * classes), torch.ones(1, code.n, dtype=torch.bool)
    arrived[0, 0] = False
    decoder = to_torchscript(code.eval().decoder, (outputs, arrived))
    title = f"decode, {code.name} k={code.k} r={code.r}, 1 group of {classes} classes"
    return ratios(title, "µs", partial(seconds, lambda: decoder(outputs, arrived)), lambda: 1e-6)


def seconds(call: Callable[[], Tensor]) -> float:
    """Return the median time of one call."""
    timer = Timer(call)
    calls, taken = timer.autorange()
    calls = max(1, round(calls * 0.02 / taken))
    return median(timer.repeat(9, calls)) / calls


def startup() -> Iterator[Row]:
    def run(*arguments: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    helped, imported = partial(run, "-m", "parmtrain", "--help"), partial(run, "-c", "import torch")
    yield ratios("--help", "time ÷ import torch", helped, imported)


MEASURED = {"training": training, "coding": coding, "startup": startup}


def main(names: list[str]) -> None:
    quiet()
    machine = f"{platform.machine()}, {torch.get_num_threads()} cores, PyTorch {torch.__version__}"
    table = Table("what", "ratio of", "median", "least", "greatest", title=machine, title_justify="left")
    for name in names or MEASURED:
        for title, unit, *figures in MEASURED[name]():
            print(f"{title}: {figures[0]:.2f}", file=sys.stderr)
            table.add_row(title, unit, *(f"{figure:.2f}" for figure in figures))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
