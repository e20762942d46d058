"""Confidence in reconstructions: it is calibrated, what it promises holds, and bundles and results state it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import parmtrain
from parmtrain.confidence import Expected, Promises, Softmax, promised_agreement, promised_risk
from parmtrain.confidence.promises import p_value
from parmtrain.errors import ConfigError, InputError
from parmtrain.evaluate import score_again
from parmtrain.metrics.reliability import calibration_error, reliability, selective
from parmtrain.result import Result
from tests.small_runs import small_run

ONE_LATE = torch.tensor([[False, True, True]])


def overconfident(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return class scores that claim more than they keep, and whether each is right."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, 5, generator=random)
    drawn = torch.distributions.Gumbel(0.0, 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        truth = (scores + drawn.sample(scores.shape)).argmax(dim=1)
    return 4 * scores, (scores.argmax(dim=1) == truth).float()


def test_a_temperature_calibrates_scores_that_claim_too_much() -> None:
    confidence = Softmax("class scores", numbers=1, outputs=5)
    scores, right = overconfident(4000, seed=0)
    before = calibration_error(confidence(scores[None], ONE_LATE)[0], right)
    confidence.fit(scores, torch.ones(len(scores)), right)
    scores, right = overconfident(4000, seed=1)
    after = calibration_error(confidence(scores[None], ONE_LATE)[0], right)
    assert before > 0.2
    assert after < 0.03
    assert confidence.temperatures.item() == pytest.approx(4, rel=0.15)


def test_each_number_of_late_workers_has_its_own_temperature() -> None:
    confidence = Softmax("class scores", numbers=2, outputs=5)
    scores, right = overconfident(3000, seed=0)
    confidence.fit(torch.cat([scores / 4, scores]), torch.tensor([1, 2]).repeat_interleave(3000), right.repeat(2))
    assert confidence.temperatures.tolist() == pytest.approx([1, 4], rel=0.15)
    one, two, more = (torch.arange(5)[None] >= late for late in (1, 2, 3))
    assert confidence(scores[None, :1], one) > confidence(scores[None, :1], two)
    assert torch.equal(confidence(scores[None, :1], two), confidence(scores[None, :1], more))


def test_probabilities_are_their_own_softmax() -> None:
    confidence = Softmax("class probabilities", numbers=1, outputs=3)
    assert confidence(torch.tensor([[[0.7, 0.2, 0.1]]]), ONE_LATE).item() == pytest.approx(0.7, abs=1e-5)
    assert confidence(torch.tensor([[[1.2, -0.2, 0.0]]]), ONE_LATE).item() == pytest.approx(1.0, abs=1e-5)


def test_what_could_not_be_reconstructed_has_no_confidence() -> None:
    nothing = torch.full((1, 2, 4), torch.nan)
    for confidence in (Softmax("class scores", 1, 4), Expected("boxes", 1, 4)):
        assert confidence(nothing, ONE_LATE).tolist() == [[0.0, 0.0]]


@pytest.mark.slow
def test_an_expectation_is_learned_from_few_predictions_of_any_length() -> None:
    random = torch.Generator().manual_seed(0)
    predictions = torch.randn(300, 64, generator=random)
    predictions[:, 0] *= 5  # what decides varies most
    agreement = torch.sigmoid(predictions[:, 0])
    confidence = Expected("embeddings", numbers=1, outputs=64)
    confidence.fit(predictions[:200], torch.ones(200), agreement[:200])
    found = confidence(predictions[None, 200:], ONE_LATE)[0]
    assert float((found - agreement[200:]).abs().mean()) < 0.1
    again = Expected("embeddings", numbers=1, outputs=64)
    again.fit(predictions[:200], torch.ones(200), agreement[:200])
    assert torch.equal(again(predictions[None, 200:], ONE_LATE)[0], found)


def test_a_perfect_confidence_has_no_risk_until_it_must() -> None:
    right = torch.cat([torch.ones(80), torch.zeros(20)])
    found = reliability(right, right)
    assert (found.calibration_error, found.brier) == (0, 0)
    assert found.most_confident[0.8] == 1
    assert found.most_confident[1.0] == pytest.approx(0.8)
    blind = reliability(torch.full((100,), 0.8), right)
    assert blind.aurc == pytest.approx(0.2)
    assert found.aurc < 0.03
    assert selective(torch.full((100,), 0.8), right)[1].tolist() == pytest.approx([0.8] * 100)


@pytest.mark.slow
@pytest.mark.parametrize("graded", [False, True])
def test_a_promise_of_agreement_is_broken_as_seldom_as_it_says(graded: bool) -> None:
    broken, accepted = 0, []
    for seed in range(200):
        random = np.random.default_rng(seed)
        confidence = random.beta(4, 0.4, 1200)
        expected = confidence**1.3  # what it claims is too much
        agreement = (random.random(1200) < expected).astype(float)
        if graded:
            agreement = np.clip(expected + random.uniform(-0.05, 0.05, 1200), 0, 1)
        threshold = promised_agreement(0.95, confidence[300:], agreement[300:], before=confidence[:300])
        many = np.random.default_rng(1000 + seed).beta(4, 0.4, 200_000)
        taken = many[many >= threshold]
        accepted.append(len(taken) / len(many))
        broken += bool(len(taken)) and (taken**1.3).mean() < 0.95 - (0.001 if graded else 0)
    assert broken <= 200 * 0.1 + 3 * (200 * 0.1 * 0.9) ** 0.5
    assert np.mean(accepted) > 0.4


@pytest.mark.slow
def test_a_promise_of_risk_holds_on_average() -> None:
    risks = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        confidence = random.beta(4, 0.4, (300, 2))
        agreement = (random.random((300, 2)) < confidence**1.3).astype(float)
        threshold = promised_risk(0.03, confidence, agreement)
        many = np.random.default_rng(1000 + seed).beta(4, 0.4, 50_000)
        risks.append(((many >= threshold) * (1 - many**1.3)).mean())
    assert 0.02 < np.mean(risks) <= 0.03


def test_few_losses_prove_little() -> None:
    assert p_value(np.zeros(113), 0.02) > 0.1
    assert p_value(np.zeros(114), 0.02) <= 0.1
    assert p_value(np.array([0.5, 0.0, 0.1]), 0.02) == 1.0
    assert p_value(np.full(2000, 0.005), 0.02) < 0.01


def test_a_run_says_how_far_its_reconstructions_can_be_trusted(finished: Result) -> None:
    given = json.loads((finished.folder / "metrics.json").read_text())["confidence"]["1"]
    agreement = given["agreement"]
    assert agreement["most_confident"]["1"] == pytest.approx(finished.record.scores.degraded.agreement)
    assert given["main"]["most_confident"]["1"] == pytest.approx(finished.record.scores.degraded.main)
    assert given["deployed"]["most_confident"]["1"] == pytest.approx(
        finished.record.scores.available["accuracy"], abs=0.01
    )
    assert agreement["most_confident"]["0.5"] >= agreement["most_confident"]["1"]
    assert 0 < agreement["calibration_error"] < 0.2
    assert set(given["promised_agreement"]) >= {"0.9", "0.98", "0.999"}
    assert (finished.folder / "confidence.png").stat().st_size > 10_000


def test_a_bundle_gives_the_confidences_of_its_run(finished: Result) -> None:
    bundle, scores = score_again(finished.folder)
    again, first = (one.certainty[0] for one in (scores, finished.record.scores))
    assert again.agreement.most_confident == pytest.approx(first.agreement.most_confident, abs=1e-5)
    assert again.promised[0.9].share == pytest.approx(first.promised[0.9].share, abs=1e-5)
    assert again.promised[0.9].threshold == first.promised[0.9].threshold
    assert bundle.confidence is not None
    arrived = torch.tensor([[True, False, True]] * 3)
    predictions = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(0))
    given = bundle.confidence(predictions, arrived)
    assert given.shape == (3, 2)
    assert bool(((given >= 0.1) & (given <= 1)).all())
    alone = torch.jit.load(finished.folder / "export" / "confidence.ts")  # without parmtrain
    assert torch.equal(alone(predictions, arrived), given)
    assert bundle.promises == Promises.from_json(bundle.about["promises"])


@pytest.mark.parametrize(
    ("predictions", "late", "why"),
    [
        ((2, 10), (1, 3), "predictions must have shape [g, 2, 10], got [2, 10]"),
        ((4, 2, 9), (4, 3), "predictions must have shape [g, 2, 10], got [4, 2, 9]"),
        ((4, 2, 10), (1, 3), "arrived must have shape [4, 3], got [1, 3]"),
        ((4, 2, 10), (4, 2), "arrived must have shape [4, 3], got [4, 2]"),
    ],
)
def test_a_bundle_refuses_other_shapes(
    predictions: tuple[int, ...], late: tuple[int, ...], why: str, finished: Result
) -> None:
    confidence = parmtrain.load(finished.folder).confidence
    assert confidence is not None
    with pytest.raises(InputError, match=re.escape(why)):
        confidence(torch.rand(predictions), torch.ones(late, dtype=torch.bool))


@pytest.mark.slow
def test_confidence_can_be_left_out(tmp_path: Path) -> None:
    result = small_run(tmp_path / "run", "confidence=null")
    assert result.metrics["confidence"] == {}
    bundle = parmtrain.load(result.folder)
    assert (bundle.confidence, bundle.promises) == (None, None)


@pytest.mark.parametrize("given", ["accept.agreement=1", "accept.agreement=0", "accept.risk=-1", "accept.certainty=1"])
def test_promises_that_nothing_can_keep_are_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{given.partition('=')[0]} must be more than 0 and 0.9999 or less"):
        parmtrain.run(parmtrain.compose(given), tmp_path / "run")
