"""A shadow parity model: it learns from served groups, and is scored against the one that serves, on others."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from scipy.special import bdtrc
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from parmtrain.adaptation.pairs import Pairs
from parmtrain.bundle import Bundle
from parmtrain.codes import arrivals, decode_each, run_coded, worker_outputs
from parmtrain.confidence import Confidence, by_kind
from parmtrain.confidence.promises import LADDER
from parmtrain.errors import UnsupportedError
from parmtrain.evaluation.certainty import Calibrated, calibrated
from parmtrain.evaluation.reconstructions import Collector, Reconstructions
from parmtrain.metrics.kinds import agreement_of
from parmtrain.metrics.measures import CLASS_SCORES, PROBABILITIES, Measures

GROUPS = 64  # in a step
LEAST = 1e-12  # probability
CHANCE = 0.01  # of promoting a model that is no better


@dataclass(frozen=True)
class Learned:
    """What a shadow has learned.

    Args:
        models: The parity models, in evaluation mode.
        agreement: Their agreement with F on held-out groups.
        before: The agreement of those that serve, on the same groups.
        chance: Probability of so many groups that are better, if they were as good: an exact sign test.
        trusted: A confidence in their reconstructions, and its promises, from further held-out groups.
    """

    models: list[nn.Module]
    agreement: float
    before: float
    chance: float
    trusted: Calibrated

    @property
    def better(self) -> bool:
        """Whether they are to take the place of those that serve."""
        return self.agreement > self.before and self.chance <= CHANCE


class Shadow:
    """Learn parity models for what is served now.

    Encoder and decoder stay as they are, and F's own predictions are all that is learned from: no labels, no F.

    Args:
        bundle: The bundle that serves; its code is systematic, and its parity models have weights.
        seed: Seed of the groups.
        epochs: Passes over the pairs.
        lr: Largest learning rate.

    Raises:
        UnsupportedError: If there is nothing to train, or the kind of predictions is not known.
    """

    def __init__(self, bundle: Bundle, seed: int = 0, epochs: int = 8, lr: float = 1e-3) -> None:
        self.bundle, self.seed, self.epochs, self.lr = bundle, seed, epochs, lr
        kind = bundle.about.get("kind")
        measure = agreement_of(kind)
        if measure is None:
            raise UnsupportedError(f"adaptation needs classes, boxes or embeddings, got predictions of kind {kind}")
        if not bundle.systematic or not bundle.about["parity"]["models"]:
            raise UnsupportedError(f"code={bundle.about['code']} has no parity model that could learn")
        if not all(isinstance(model, nn.Module) and list(model.parameters()) for model in bundle.parity_models):
            raise UnsupportedError("the bundle's parity models must have weights, and be modules or TorchScript")
        self.kind = str(kind)
        self.measures = Measures(self.kind, "agreement", measure, measure, _no_constant)
        late = arrivals(bundle.k, 1)
        self.cases = torch.cat([late, torch.ones(len(late), bundle.coded, dtype=torch.bool)], dim=1)
        self.counted = ~late

    def learn(self, learned: Pairs, held_out: Pairs) -> Learned:
        """Train copies of the parity models, and score them on held-out pairs, half of which calibrate a confidence."""
        with torch.no_grad():  # copies of TorchScript modules would have a history otherwise
            own = (model for model in self.bundle.parity_models if isinstance(model, nn.Module))
            models = [copy.deepcopy(model).eval() for model in own]
        self._train(models, learned)
        groups = self._groups(held_out, torch.Generator().manual_seed(self.seed + 1))
        trial, rest = groups.split([len(groups) // 2, len(groups) - len(groups) // 2])
        now, before = (self._reconstructions(one, held_out, trial) for one in (models, self.bundle.parity_models))
        apart = (now.agreement - before.agreement).mean(dim=1)
        better, other = int((apart > 0).sum()), int((apart != 0).sum())
        chance = float(bdtrc(better - 1, other, 0.5)) if other else 1.0
        confidence: Confidence = by_kind(self.kind, self.bundle.stragglers, self.bundle.outputs)
        promised = self.bundle.promises
        agreements = sorted({*LADDER, *(promised.agreement if promised is not None else ())})
        further = [self._reconstructions(models, held_out, rest)]
        isolated = bool(self.bundle.about.get("independent"))
        trusted = calibrated(further, confidence, agreements, seed=self.seed, isolated=isolated)
        return Learned(models, now.agreement.mean().item(), before.agreement.mean().item(), chance, trusted)

    def _train(self, models: list[nn.Module], pairs: Pairs) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        parameters = [value for model in models for value in model.parameters()]
        for value in parameters:
            value.requires_grad_(True)
        steps = self.epochs * max(1, -(-(len(pairs.queries) // self.bundle.k) // GROUPS))
        optimizer = torch.optim.Adam(parameters, lr=self.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        for _ in range(self.epochs):
            for groups in self._groups(pairs, generator).split(GROUPS):
                queries, own = pairs.queries[groups], pairs.predictions[groups]
                coded = run_coded(models, self.bundle.encoder(queries).detach())
                outputs = worker_outputs(own, coded, systematic=True)
                decoded = decode_each(self.bundle.decoder, outputs, self.cases)[:, self.counted]
                wanted = own.unsqueeze(1).expand(-1, len(self.cases), -1, -1)[:, self.counted]
                optimizer.zero_grad()
                self._loss(decoded, wanted).backward()
                optimizer.step()
                schedule.step()
        for value in parameters:
            value.requires_grad_(False)

    def _loss(self, decoded: Tensor, wanted: Tensor) -> Tensor:
        """Return how far reconstructions ``[g, q, c]`` are from F's own predictions."""
        if self.kind == CLASS_SCORES:
            return kl_div(log_softmax(decoded, -1), softmax(wanted, -1), reduction="none").sum(-1).mean()
        if self.kind == PROBABILITIES:
            return kl_div(decoded.clamp_min(LEAST).log(), wanted, reduction="none").sum(-1).mean()
        return mse_loss(decoded, wanted)

    def _groups(self, pairs: Pairs, generator: torch.Generator) -> Tensor:
        """Return random groups of pairs, as their numbers ``[g, k]``."""
        order = torch.randperm(len(pairs.queries), generator=generator)
        return order[: len(order) // self.bundle.k * self.bundle.k].view(-1, self.bundle.k)

    @torch.no_grad()
    def _reconstructions(self, models: Any, pairs: Pairs, groups: Tensor) -> Reconstructions:
        """Return the reconstructions of some groups by some parity models, each with its prediction."""
        collector = Collector(1, self.cases, self.counted, self.measures, keep=lambda decoded, _: decoded)
        for some in groups.split(GROUPS):
            own = pairs.predictions[some]
            outputs = worker_outputs(own, run_coded(models, self.bundle.encoder(pairs.queries[some])), systematic=True)
            collector.update(decode_each(self.bundle.decoder, outputs, self.cases), own, own)
        return collector.collected()


def _no_constant(_: Tensor) -> Tensor:
    raise NotImplementedError
