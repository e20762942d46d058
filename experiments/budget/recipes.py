"""What makes a small student better: one change at a time to its distillation, on the validation split.

    python experiments/budget/recipes.py OUT.csv task=fashion_mnist k=4 data.root=DATA deployed.path=WEIGHTS

Every student is the perceptron of code=lowres_perceptron within the arithmetic of one parity query. OUT.csv is written
after each training; one that is stopped goes on where it was. The test split is not read.
"""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, mse_loss, softmax
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from parmtrain import compose
from parmtrain.codes.lowres import LowResEncoder
from parmtrain.deployed import DeployedModel
from parmtrain.files import replacing
from parmtrain.flops import flops, widest
from parmtrain.models import perceptron_student
from parmtrain.prepared import Prepared
from parmtrain.tasks.images import CropFlip
from parmtrain.training.fit import quiet

BATCH, EPOCHS, RATE, DECAY, SEEDS = 128, 15, 0.005, 0.999, (0, 1, 2)


@dataclass(frozen=True)
class Recipe:
    """How a student is distilled.

    Args:
        labels: Weight of the cross-entropy with labels; that of the divergence from F is 1 less this.
        temperature: What logits are divided by in the divergence, which is multiplied by its square.
        mixup: Parameter of the Beta distribution by which two queries are mixed; 0 for none.
        features: Weight of the squared distance of a linear map of hidden features from those of F.
        averaged: Whether the student is the moving average of its weights.
        views: Whether F and the student see shifted and mirrored queries.
        epochs: Epochs.
    """

    labels: float = 0.0
    temperature: float = 1.0
    mixup: float = 0.0
    features: float = 0.0
    averaged: bool = False
    views: bool = False
    epochs: int = EPOCHS


RECIPES = {
    "KL": Recipe(),
    "0.3 labels": Recipe(labels=0.3),
    "0.3 labels, temperature 2": Recipe(labels=0.3, temperature=2.0),
    "0.3 labels, temperature 4": Recipe(labels=0.3, temperature=4.0),
    "0.3 labels, mixup 0.2": Recipe(labels=0.3, mixup=0.2),
    "0.3 labels, hidden features": Recipe(labels=0.3, features=0.1),
    "0.3 labels, averaged weights": Recipe(labels=0.3, averaged=True),
    "0.3 labels, shifted and mirrored": Recipe(labels=0.3, views=True),
    "0.3 labels, 60 epochs": Recipe(labels=0.3, epochs=4 * EPOCHS),
    "0.5 labels, 60 epochs": Recipe(labels=0.5, epochs=4 * EPOCHS),
    "0.3 labels, hidden features ×10": Recipe(labels=0.3, features=1.0),
    "0.3 labels, hidden features, 60 epochs": Recipe(labels=0.3, features=0.1, epochs=4 * EPOCHS),
}


class Queries(NamedTuple):
    """Stored queries ``[n, c, h, w]`` and labels ``[n]`` of a split."""

    stored: Tensor
    labels: Tensor


class Study:
    """The data, F and encoder that all recipes share.

    Args:
        overrides: Overrides of parmtrain's configuration.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        cfg = compose(*overrides)
        work = Prepared(cfg)
        self.k, self.shape, self.outputs, self.prepare = (
            cfg.k,
            work.task.query_shape,
            work.task.outputs,
            work.task.input,
        )
        self.deployed: DeployedModel = work.deployed
        self.encoder = LowResEncoder(cfg.k)
        self.train, self.val = (Queries(*split[torch.arange(len(split))]) for split in work.splits[:2])
        self.view = CropFlip(padding=1)

    def small(self, queries: Tensor) -> Tensor:
        """Downsample queries ``[b, c, h, w]`` to 1/k of their pixels."""
        return self.encoder(queries.unsqueeze(1)).flatten(0, 2)

    def student(self) -> nn.Module:
        """Return an untrained student within the arithmetic of one parity query."""
        shape = tuple(self.small(torch.zeros(1, *self.shape)).shape[1:])
        most = flops(self.deployed, torch.zeros(1, *self.shape)) / self.k
        return widest(lambda width: perceptron_student(shape, self.outputs, width), shape, most, "a parity query")

    def score(self, recipe: Recipe, seed: int) -> tuple[float, float]:
        """Train a student; return its accuracy, and its agreement with F, on the validation split."""
        torch.manual_seed(seed)
        student = self.student()
        model = _trained(self, student, recipe).eval()
        with torch.no_grad():
            queries = self.prepare(self.val.stored)
            given, own = model(self.small(queries)).argmax(1), self.deployed(queries).argmax(1)
        return (given == self.val.labels).float().mean().item(), (given == own).float().mean().item()


def _trained(study: Study, student: nn.Module, recipe: Recipe) -> nn.Module:
    """Train a student by a recipe; return it, or the average of its weights."""
    steps = recipe.epochs * (len(study.train.labels) // BATCH)
    with _last_inputs(study.deployed.network) as theirs, _last_inputs(student) as ours:
        study.deployed(study.prepare(study.train.stored[:1]))
        student.eval()(study.small(study.prepare(study.train.stored[:1])))
        bridge = nn.Linear(ours[-1].size(1), theirs[-1].size(1))
        optim = torch.optim.Adam([*student.parameters(), *bridge.parameters()], RATE, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optim, RATE, total_steps=steps)
        average = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        student.train()
        for _ in range(recipe.epochs):
            for index in torch.randperm(len(study.train.labels)).split(BATCH)[: steps // recipe.epochs]:
                optim.zero_grad()
                _loss(study, student, recipe, index, lambda: mse_loss(bridge(ours[-1]), theirs[-1])).backward()
                optim.step()
                schedule.step()
                average.update_parameters(student)
    return average if recipe.averaged else student


def _loss(study: Study, student: nn.Module, recipe: Recipe, index: Tensor, distance: Callable[[], Tensor]) -> Tensor:
    """Return the loss of one batch."""
    stored, labels, degree = study.train.stored[index], study.train.labels[index], recipe.temperature
    queries = study.prepare(study.view(stored) if recipe.views else stored)
    other, share = torch.arange(len(index)), 1.0
    if recipe.mixup:
        share, other = float(torch.distributions.Beta(recipe.mixup, recipe.mixup).sample()), torch.randperm(len(index))
        queries = share * queries + (1 - share) * queries[other]
    given, wanted = student(study.small(queries)), study.deployed(queries)
    divergence = kl_div(log_softmax(given / degree, 1), softmax(wanted / degree, 1), reduction="batchmean") * degree**2
    loss = (1 - recipe.labels) * divergence
    if recipe.labels:
        right = share * cross_entropy(given, labels) + (1 - share) * cross_entropy(given, labels[other])
        loss = loss + recipe.labels * right
    return loss + recipe.features * distance() if recipe.features else loss


@contextmanager
def _last_inputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the last linear layer of a network is given, call by call; only the last call is kept."""
    seen: list[Tensor] = []
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    handle = last.register_forward_pre_hook(lambda _, inputs: seen.__setitem__(slice(None), [inputs[0]]))
    try:
        yield seen
    finally:
        handle.remove()


def main(out: Path, overrides: Sequence[str]) -> None:
    """Train all recipes with all seeds that OUT does not have yet."""
    quiet()
    study = Study(overrides)
    rows = list(csv.DictReader(out.open(encoding="utf-8"))) if out.is_file() else []
    done = {(row["recipe"], int(row["seed"])) for row in rows}
    for seed, (name, recipe) in product(SEEDS, RECIPES.items()):
        if (name, seed) in done:
            continue
        accuracy, agreement = study.score(recipe, seed)
        rows.append({"recipe": name, "seed": str(seed), "accuracy": f"{accuracy:.4f}", "agreement": f"{agreement:.4f}"})
        print(f"{name}, seed {seed}: accuracy {accuracy:.4f}, agreement {agreement:.4f}", flush=True)
        with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
