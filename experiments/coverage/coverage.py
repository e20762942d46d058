"""Which deployed models are taken: architectures of torchvision and timm, as each kind of file, with three codes.

    pip install -e '.[timm,onnx]' onnxscript
    python experiments/coverage/coverage.py OUT [ARCHITECTURE ...]

For each cell, a deployed model with random weights is written as it would be handed over, a parity model takes one step
of training on made-up queries, everything is exported, and the bundle has to give the module's own numbers.
OUT/cells.csv has the outcome of each cell; an interrupted run goes on behind the last one. OUT/README.md is the table.
"""

import csv
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

from parmtrain import compose, load, run
from parmtrain.errors import ParmtrainError
from parmtrain.programs import Network

OUTPUTS, SIDE = 10, 64
PICTURE, SOUND = (3, SIDE, SIDE), (1, 40, 100)
CODES = {"student": "lowres", "sum": "sum", "heads": "concat_heads"}
TOLERANCE = 1e-4
SIZES = {"train": 8, "val": 4, "test": 4}


class Convolution1d(nn.Module):
    """Convolutions along time, over the rows of a spectrogram ``[b, 1, 40, t]``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(40, 64, 5, 2), nn.ReLU(), nn.Conv1d(64, 128, 5, 2), nn.ReLU())
        self.head = nn.Linear(128, OUTPUTS)

    def forward(self, sounds: Tensor) -> Tensor:
        """Map spectrograms to predictions."""
        return self.head(self.layers(sounds.squeeze(1)).mean(dim=2))


class Recurrent(nn.Module):
    """An LSTM along time, over the rows of a spectrogram ``[b, 1, 40, t]``."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 64, batch_first=True)
        self.head = nn.Linear(64, OUTPUTS)

    def forward(self, sounds: Tensor) -> Tensor:
        """Map spectrograms to predictions."""
        states, _ = self.lstm(sounds.squeeze(1).transpose(1, 2))
        return self.head(states[:, -1])


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return partial(torchvision.models.get_model, name, num_classes=OUTPUTS)


def of_timm(name: str, **more: object) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=OUTPUTS, **more)


OF_TORCHVISION = (
    *("resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "mnasnet0_5"),
    *("shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf", "vgg11", "alexnet"),
)
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    **{name: (of_torchvision(name), PICTURE) for name in OF_TORCHVISION},
    "resnext26ts": (of_timm("resnext26ts"), PICTURE),
    "convnext_atto": (of_timm("convnext_atto"), PICTURE),
    "efficientnet_lite0": (of_timm("efficientnet_lite0"), PICTURE),
    "vit_tiny_patch16": (of_timm("vit_tiny_patch16_224", img_size=SIDE), PICTURE),
    "deit_tiny_patch16": (of_timm("deit_tiny_patch16_224", img_size=SIDE), PICTURE),
    "swin_tiny": (of_timm("swin_tiny_patch4_window7_224", img_size=SIDE, window_size=2), PICTURE),
    "mixer_s32": (of_timm("mixer_s32_224", img_size=SIDE), PICTURE),
    "conv1d": (Convolution1d, SOUND),
    "lstm": (Recurrent, SOUND),
}


def eager(network: nn.Module, example: Tensor, folder: Path) -> Network:
    return network


def torchscript(network: nn.Module, example: Tensor, folder: Path) -> Path:
    path = folder / "f.ts"
    torch.jit.trace(network, example).save(path)
    return path


def exported(network: nn.Module, example: Tensor, folder: Path) -> Path:
    path = folder / "f.pt2"
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), path)
    return path


def onnx(network: nn.Module, example: Tensor, folder: Path) -> Path:
    path = folder / "f.onnx"
    torch.onnx.export(
        network, (example,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
    )
    return path


FORMS: dict[str, Callable[[nn.Module, Tensor, Path], Network | Path]] = {
    "eager": eager,
    "TorchScript": torchscript,
    ".pt2": exported,
    "ONNX": onnx,
}


def outcome(given: Network | Path, code: str, shape: tuple[int, ...], folder: Path) -> str:
    """Return the parity model's share of F's FLOPs for a group, or why there is none."""
    random = np.random.default_rng(0)
    for split, count in SIZES.items():
        np.save(folder / f"{split}_queries.npy", random.random((count, *shape), dtype=np.float32))
    overrides = [
        "task=arrays",
        f"data.root={folder}",
        f"task.query_shape={list(shape)}",
        f"task.outputs={OUTPUTS}",
        "task.input.scale=1",
        f"code={code}",
        "groups=4",
        "trainer.max_epochs=1",
        f"cache={folder}/cache",
        "overwrite=true",
        *([f"deployed.path={given}"] if isinstance(given, Path) else []),
    ]
    try:
        result = run(compose(*overrides), folder / "run", deployed=None if isinstance(given, Path) else given)
    except ParmtrainError as refusal:
        return f"refused: {refusal}"
    bundle, queries = load(folder / "run"), torch.from_numpy(np.load(folder / "test_queries.npy")).view(2, 2, *shape)
    module = result.module
    with torch.no_grad():
        own = module.predict(module.encode(queries))
        served = bundle.predict(bundle.encode(queries))
    if not torch.allclose(own, served, TOLERANCE, TOLERANCE * own.abs().max().item()):
        return "failed: the bundle gives other numbers"
    if bundle.deployed is None:
        return "failed: the bundle does not hold the deployed model"
    bundle.reconstruct(queries)
    return f"{result.metrics['cost']['parity_flops']:.2f}"


def cells(names: list[str]) -> Iterator[dict[str, str]]:
    """Yield the outcome of each cell that is not known yet."""
    for name in names:
        build, shape = ARCHITECTURES[name]
        for form, convert in FORMS.items():
            for column, code in CODES.items():
                if (name, form, column) in known:
                    continue
                began = time.perf_counter()
                with tempfile.TemporaryDirectory() as scratch:
                    torch.manual_seed(0)
                    network = build().eval()
                    try:
                        given = convert(network, torch.rand(2, *shape), Path(scratch))
                    except Exception as fault:  # not every architecture can be written in every form
                        words = f"{type(fault).__name__}: {fault}".splitlines()[0]
                        text = f"PyTorch cannot write it: {words}"
                    else:
                        text = outcome(given, code, shape, Path(scratch))
                seconds = f"{time.perf_counter() - began:.0f}"
                yield {"architecture": name, "form": form, "column": column, "outcome": text, "seconds": seconds}


def write_table(rows: list[dict[str, str]], path: Path) -> None:
    """Write the table, with refusals as numbered notes below it."""
    notes: list[str] = []
    found = {(row["architecture"], row["form"], row["column"]): row["outcome"] for row in rows}

    def cell(name: str, form: str, column: str) -> str:
        text = found.get((name, form, column), "")
        if not text or text[0].isdigit():
            return text
        if text not in notes:
            notes.append(text)
        return f"({notes.index(text) + 1})"

    heads = [f"{form}, {column}" for form in FORMS for column in CODES]
    lines = [f"| architecture | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in ARCHITECTURES:
        values = [cell(name, form, column) for form in FORMS for column in CODES]
        if any(values):
            lines.append(f"| {name} | {' | '.join(values)} |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]
    path.write_text(INTRODUCTION + "\n".join(lines) + "\n")


INTRODUCTION = f"""# Which deployed models are taken

{len(ARCHITECTURES)} architectures with random weights, each as a module, a TorchScript archive (traced), a `.pt2` of
torch.export and an ONNX model, 18 for pictures of 3×{SIDE}×{SIDE} and two for spectrograms of 40×100, with k = 2:
one step of training, the export, and the bundle gives the module's own numbers. Numbers are the parity model's FLOPs
for a group ÷ those of one run of F; notes in brackets are refusals. `student` is `code=lowres`, `sum` is `code=sum`,
and `heads` is `code=concat_heads`.

```sh
python experiments/coverage/coverage.py experiments/coverage
```

"""

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    table = out / "cells.csv"
    columns = ["architecture", "form", "column", "outcome", "seconds"]
    every = list(csv.DictReader(table.open())) if table.is_file() else []
    known = {(row["architecture"], row["form"], row["column"]) for row in every}
    for row in cells(sys.argv[2:] or list(ARCHITECTURES)):
        every.append(row)
        fresh = not table.is_file()
        with table.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(*row.values(), flush=True)
        write_table(every, out / "README.md")
    write_table(every, out / "README.md")
