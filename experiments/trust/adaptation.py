"""How much of what drift costs does adaptation regain, and after how many queries?

    python experiments/trust/adaptation.py OUT RUN [drifts=turned,blur,noise] [queries=20000] [epochs=8]

RUN is a finished run of images of one channel. Training queries, changed, stand in for what is served; each round
learns from the newest 16,384 of them at most, as ``python -m parmtrain.adapt`` does. Agreement is that of the changed
test split. A row each: before drift, after it, and after so many served queries.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur, rotate

from parmtrain.adapt import Adaptation, AdaptSettings
from parmtrain.adaptation.pairs import CHUNK, PairFolder
from parmtrain.bundle import Bundle
from parmtrain.command import log_to_terminal
from parmtrain.drawing import GREY, finish, look, save, styled
from parmtrain.evaluation.score import ScoredSplit, reconstructions
from parmtrain.prepared import Prepared
from parmtrain.reopened import reopen
from parmtrain.settings import read_settings
from parmtrain.tasks.queries import TensorQueries


def noisy(images: Tensor, deviation: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + 255 * deviation * noise).clamp(0, 255).to(images.dtype)


DRIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "turned": lambda images: rotate(images, 30),
    "blur": lambda images: gaussian_blur(images, [7, 7], [1.2, 1.2]),
    "noise": lambda images: noisy(images, 0.1),
}
LOOKS = {"turned": 0, "blur": 2, "noise": 1}


@dataclass
class Settings:
    """What to measure."""

    drifts: list[str] = field(default_factory=lambda: list(DRIFTS))
    queries: int = 20_000
    step: int = 4_096
    epochs: int = 8


def agreement(bundle: Bundle, prepared: Prepared, images: Tensor, labels: Tensor) -> float:
    """Return how often reconstructions of images agree with F."""
    with torch.no_grad():
        own = torch.cat([prepared.deployed(prepared.task.input(part)) for part in images.split(1024)])
    split = ScoredSplit(TensorQueries(images, labels), own, prepared.task.input, {})
    (one,) = reconstructions(bundle, split, prepared.measures, prepared.cfg.seed)
    return one.agreement.mean().item()


def main(out: Path, run: str, settings: Settings) -> None:
    log_to_terminal()
    out.mkdir(parents=True, exist_ok=True)
    prepared, bundle = reopen(run)
    stored, labels = prepared.splits.test[torch.arange(len(prepared.splits.test))]
    train, _ = prepared.splits.train[torch.arange(settings.queries)]
    before = agreement(bundle, prepared, stored, labels)
    rows = []
    for drift in settings.drifts:
        changed = DRIFTS[drift](stored)
        after = agreement(bundle, prepared, changed, labels)
        rows += [(drift, "before", 0, before, ""), (drift, "drifted", 0, after, "")]
        with tempfile.TemporaryDirectory() as scratch:
            kept = PairFolder(Path(scratch) / "kept")
            places = {"versions": f"{scratch}/versions", "keep": f"{scratch}/kept"}
            adaptation = Adaptation(AdaptSettings(bundle=run, epochs=settings.epochs, **places))
            for begin in range(0, settings.queries, settings.step):
                for part in DRIFTS[drift](train[begin : begin + settings.step]).split(CHUNK):
                    queries = prepared.task.input(part)
                    with torch.no_grad():
                        kept.write(queries.numpy(), prepared.deployed(queries).numpy())
                began = time.perf_counter()
                adaptation.round()
                seconds = time.perf_counter() - began
                now = agreement(adaptation.versions.bundle(), prepared, changed, labels)
                served = min(begin + settings.step, settings.queries)
                rows.append((drift, "adapted", served, now, round(seconds, 1)))
                regained = (now - after) / (before - after) if before > after else float("nan")
                print(f"{drift}: {before:.4f} before, {after:.4f} after drift, {now:.4f} after {served} queries: "
                      f"{regained:.0%} regained, {seconds:.0f} s", flush=True)  # fmt: skip
    with open(out / "adaptation.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["drift", "state", "served queries", "agreement", "seconds of learning"])
        writer.writerows(rows)
    plot(rows, before, out / "adaptation.png")


@styled()
def plot(rows: list[tuple[str, str, int, float, object]], before: float, path: Path) -> None:
    figure = Figure(figsize=(6.4, 4.6))
    axes = figure.subplots()
    axes.axhline(before, color=GREY, ls="--", label="before drift")
    for drift in dict.fromkeys(row[0] for row in rows):
        some = [row for row in rows if row[0] == drift and row[1] != "before"]
        axes.plot([row[2] / 1000 for row in some], [row[3] for row in some], **look(LOOKS[drift]), label=drift)
    axes.set(xlabel="thousands of served queries since the drift", ylabel="agreement of reconstructions with F")
    finish(axes)
    save(figure, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], read_settings(Settings, sys.argv[3:]))
