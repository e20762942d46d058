"""Does a promise hold, also when queries change, and how soon is it told that it does not?

    python experiments/trust/drift.py OUT RUN [promised=0.98] [seeds=200] [stream=20000]

RUN is a finished run of images of one channel. Its test split is reconstructed as it is and after drifts: turned,
blurred, noisier, or with some of its classes alone. OUT/reconstructions-….npz keeps what came of it. Then:

- *promise*: thresholds are chosen on ``seeds`` random samples of groups, each as large as the run's own validation
  split, and checked on all other groups;
- *alarm*: streams of reconstructions, drawn with replacement, change after a while; how many reconstructions does the
  alarm take? And how many false alarms are there in a million without change?
- *adaptation*: the agreement of what is accepted in the second half of each stream, with more confidence asked for and
  without.
"""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur, rotate

from parmtrain.bundle import Bundle
from parmtrain.confidence import promised_agreement
from parmtrain.drawing import BLUE, GREY, ORANGE, finish, save, styled
from parmtrain.evaluation.certainty import confidences
from parmtrain.evaluation.score import ScoredSplit, reconstructions
from parmtrain.reopened import reopen
from parmtrain.serving.frontend.acceptance import Acceptance
from parmtrain.serving.frontend.trust import Alarm, Trust
from parmtrain.settings import read_settings
from parmtrain.tasks.queries import TensorQueries

FITTED = 0.1  # of a sample: which thresholds are tried, as in a run
CHANGE = 0.5  # of a stream


@dataclass
class Settings:
    """What to measure."""

    promised: float = 0.98
    seeds: int = 200
    stream: int = 20_000
    quiet: int = 1_000_000


def noisy(images: Tensor, deviation: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images.float() + 255 * deviation * noise).clamp(0, 255).to(images.dtype)


DRIFTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    **{f"turned by {angle}°": lambda images, angle=angle: rotate(images, angle) for angle in (10, 20, 40)},
    **{f"blur {size}": lambda images, size=size: gaussian_blur(images, [7, 7], [size] * 2) for size in (0.6, 1.0, 1.5)},
    **{f"noise {size}": lambda images, size=size: noisy(images, size) for size in (0.05, 0.1, 0.2)},
}  # fmt: skip
TOPS = (0, 2, 4, 6)  # T-shirt, pullover, coat, shirt: classes that F itself confuses


def reconstructed(run: str) -> dict[str, np.ndarray]:
    """Return confidences and agreement ``[2, G, q]`` of the test split under each drift."""
    prepared, bundle = reopen(run)
    assert bundle.confidence is not None
    test = prepared.splits.test
    stored, labels = test[torch.arange(len(test))]
    sets = {name: (drift(stored), labels) for name, drift in DRIFTS.items()}
    chosen = torch.isin(labels, torch.tensor(TOPS))
    sets["four classes alone"] = stored[chosen], labels[chosen]
    found = {}
    for name, (images, of) in track(sets.items(), "reconstructing"):
        queries = TensorQueries(images, of)
        with torch.no_grad():
            parts = [prepared.deployed(prepared.task.input(part)) for part in images.split(1024)]
        split = ScoredSplit(queries, torch.cat(parts), prepared.task.input, {})
        (one,) = reconstructions(bundle, split, prepared.measures, prepared.cfg.seed)
        given = confidences(bundle.confidence, one)
        found[name] = torch.stack([given, one.agreement]).numpy()
    return found


def own(given: np.ndarray, run: str, settings: Settings) -> None:
    """Print what the run's own threshold, of its validation split, keeps on the test split."""
    promises = Bundle(run).promises
    assert promises is not None
    (least,) = promises.agreement[settings.promised]
    taken = given[0] >= least
    print(f"the run's own threshold {least:.4f} accepts {taken.mean():.4f}; they agree in {given[1][taken].mean():.4f}")


def threshold(given: np.ndarray, groups: np.ndarray, promised: float, random: np.random.Generator) -> float:
    """Return the threshold that some groups of reconstructions ``[2, G, q]`` give, as a run chooses it."""
    before, after = np.split(groups, [round(FITTED * len(groups))])
    position = random.integers(0, given.shape[2], len(after))
    confidence, agreement = given[:, after, position]
    return promised_agreement(promised, confidence, agreement, given[0, before].ravel())


def promise(found: dict[str, np.ndarray], size: int, settings: Settings) -> list[dict[str, Any]]:
    """Return how often a promise is broken, on the same distribution and under drift."""
    thresholds, others = [], []
    base = found["none"]
    for seed in range(settings.seeds):
        random = np.random.default_rng(seed)
        order = random.permutation(base.shape[1])
        thresholds.append(threshold(base, order[:size], settings.promised, random))
        others.append(order[size:])
    rows = []
    for name, given in found.items():
        kept, shares = [], []
        for least, rest in zip(thresholds, others, strict=True):
            confidence, agreement = given[:, rest] if name == "none" else given
            taken = confidence >= least
            shares.append(taken.mean())
            kept.append(agreement[taken].mean() if taken.any() else np.nan)
        agreed = np.array(kept)
        rows.append({
            "drift": name, "agreement of all": given[1].mean(), "accepted": np.mean(shares),
            "their agreement": np.nanmean(agreed), "broken": float((agreed < settings.promised).mean()),
            "nothing accepted": float(np.isnan(agreed).mean()),
        })  # fmt: skip
    return rows


def streams(found: dict[str, np.ndarray], least: float, settings: Settings) -> list[dict[str, Any]]:
    """Return what the alarm and adaptation make of each drift."""
    rows, count = [], int(settings.stream * (1 - CHANGE))
    for name, given in found.items():
        random = np.random.default_rng(1)
        before = draw(found["none"], settings.stream - count, random)
        after = draw(given, count, random)
        trust, plain = Trust(Acceptance([least]), settings.promised), Acceptance([least])
        kept: list[float] = []
        fixed: list[float] = []
        for number, (confidence, agreement) in enumerate(np.concatenate([before, after]).tolist()):
            if number >= settings.stream - count // 2:
                kept += [agreement] if trust.acceptance.accepts(confidence, 1) else []
                fixed += [agreement] if plain.accepts(confidence, 1) else []
            trust.take(agreement, confidence, 1)
        assert trust.alarm is not None
        heard = trust.alarm.raised
        accepted_before = int((before[:, 0] >= least).sum())
        rows.append({
            "drift": name, "agreement of accepted, fixed": np.mean(fixed), "adapted": np.mean(kept) if kept else None,
            "accepted, fixed": len(fixed) / (count // 2), "accepted, adapted": len(kept) / (count // 2),
            "alarm after": None if heard is None else heard - accepted_before,
        })  # fmt: skip
    return rows


def draw(given: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return random reconstructions ``[count, 2]``."""
    flat = given.reshape(2, -1)
    return flat[:, random.integers(0, flat.shape[1], count)].T


def false_alarms(settings: Settings) -> int:
    """Return the false alarms in many reconstructions that disagree exactly as often as is allowed."""
    alarm, alarms = Alarm(settings.promised), 0
    random = np.random.default_rng(2)
    for wrong in track(random.random(settings.quiet) < 1 - settings.promised, "listening for false alarms"):
        alarm.take(1.0 - wrong)
        if alarm.raised is not None:
            alarms += 1
            alarm.reset()
    return alarms


@styled()
def plot(found: dict[str, np.ndarray], least: float, settings: Settings, path: Path) -> None:
    """Plot the agreement of what is accepted, in windows of a stream that drifts twice."""
    names = ["none", "turned by 20°", "none"]
    random = np.random.default_rng(3)
    parts = np.concatenate([draw(found[name], settings.stream, random) for name in names])
    figure = Figure(figsize=(8, 5.2))
    upper, lower = figure.subplots(2, 1, sharex=True)
    for adapts, colour, style, label in ((False, GREY, "--", "fixed threshold"), (True, BLUE, "-", "adapted")):
        trust = Trust(Acceptance([least]), settings.promised, adapts=adapts)
        kept, shares, window = [], [], 1000
        for begin in range(0, len(parts), window):
            taken = []
            for confidence, agreement in parts[begin : begin + window].tolist():
                taken += [agreement] if trust.acceptance.accepts(confidence, 1) else []
                trust.take(agreement, confidence, 1)
            kept.append(np.mean(taken) if taken else np.nan)
            shares.append(len(taken) / window)
        times = np.arange(len(kept)) * window / 1000
        upper.plot(times, kept, style, color=colour, label=label)
        lower.plot(times, shares, style, color=colour, label=label)
    upper.axhline(settings.promised, color=ORANGE, ls=":", label="promised")
    for axes in (upper, lower):
        for change in (1, 2):
            axes.axvline(change * settings.stream / 1000, color="black", lw=0.8, ls=":")
    upper.set(ylabel="agreement of accepted", title="queries are turned by 20° between the dotted lines")
    lower.set(ylabel="share accepted", xlabel="thousands of reconstructions", ylim=(0, 1))
    finish(upper)
    finish(lower)
    save(figure, path)


def write(rows: list[dict[str, Any]], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    console = Console(width=150)
    for one in rows:
        console.print({key: round(value, 4) if isinstance(value, float) else value for key, value in one.items()})


def main(out: Path, run: str, settings: Settings) -> None:
    out.mkdir(parents=True, exist_ok=True)
    kept = out / f"reconstructions-{sha256(str(Path(run).resolve()).encode()).hexdigest()[:8]}.npz"
    if not kept.is_file():
        np.savez_compressed(out / "part.npz", **reconstructed(run))
        (out / "part.npz").rename(kept)
    found = dict(np.load(kept))
    size = found["none"].shape[1] // 2  # groups; 5,000 queries in pairs, as the validation split
    write(promise(found, size, settings), out / "promise.csv")
    own(found["none"], run, settings)
    random = np.random.default_rng(0)
    least = threshold(found["none"], random.permutation(found["none"].shape[1])[:size], settings.promised, random)
    print(f"threshold {least:.4f}")
    write(streams(found, least, settings), out / "streams.csv")
    print(f"{false_alarms(settings)} false alarms in {settings.quiet} reconstructions")
    plot(found, least, settings, out / "drift.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], read_settings(Settings, sys.argv[3:]))
