"""The card of a bundle says what the run measured, and its snippet runs."""

import os
import re
import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from parmtrain.bundle.description import read_description
from parmtrain.report.card import card
from parmtrain.result import Result


def test_a_card_has_the_figures_of_its_run(finished: Result) -> None:
    text = (finished.folder / "export" / "README.md").read_text()
    metrics = finished.metrics
    low, high = metrics["degraded"]["accuracy_ci95"]
    assert (
        f"| accuracy of reconstructions, A_d | {metrics['degraded']['accuracy']:.4f} (95 %: {low:.4f} to {high:.4f}) |"
        in text
    )
    assert f"| F's own accuracy, A_a | {metrics['available']['accuracy']:.4f} |" in text
    assert metrics["deployed"]["fingerprint"][:12] in text
    assert "Licence: UCI's Optical Recognition of Handwritten Digits, CC BY 4.0." in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert "A run with task=digits, k=2, seed=0 and the code `parmtrain.codes." in text


@pytest.mark.slow
def test_its_snippet_runs_in_the_folder(finished: Result) -> None:
    text = (finished.folder / "export" / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    before = "import torch\nqueries = torch.rand(3, 2, 1, 8, 8)\n"
    code = f"{before}{snippet}\nprint(outputs.shape[:2])"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.folder / "export",
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert ended.stdout == "torch.Size([3, 1])\n"


def test_a_run_without_labels_or_confidence_has_one_too(finished: Result) -> None:
    metrics = deepcopy(finished.metrics)
    metrics["measure"] = "agreement"
    for part in ("available", "default"):
        metrics[part] = {"agreement": 0.5}
    metrics["degraded"]["agreement_ci95"] = [0.1, 0.2]
    metrics["confidence"], metrics["cost"]["parity_flops"] = {}, None
    text = card(metrics, read_description(finished.folder / "export"), data="", made_of="`mine.Code`")
    assert "| a fixed answer instead | 0.5000 |" in text
    assert "A_a" not in text
    assert "Data: of your own." in text
    assert "calibration" not in text
    assert "FLOPs" not in text


@pytest.mark.parametrize("word", ["None", "nan"])
def test_nothing_is_left_unsaid(finished: Result, word: str) -> None:
    assert word not in (finished.folder / "export" / "README.md").read_text()
