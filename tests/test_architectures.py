"""Cells of the table in ``experiments/coverage``: architectures of others, as each kind of file, with three codes."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "experiments" / "coverage" / "coverage.py"
_spec = spec_from_file_location("coverage_table", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
coverage = sys.modules["coverage_table"] = module_from_spec(_spec)  # TorchScript looks for the source of a class there
_spec.loader.exec_module(coverage)


@pytest.mark.thorough
@pytest.mark.parametrize("code", ["student", "sum", "heads"])
@pytest.mark.parametrize(
    ("architecture", "form"),
    [("squeezenet1_1", "TorchScript"), ("convnext_atto", ".pt2"), ("shufflenet_v2_x0_5", "ONNX"), ("lstm", "eager")],
)
def test_a_cell_of_the_table(architecture: str, form: str, code: str, tmp_path: Path) -> None:
    build, shape = coverage.ARCHITECTURES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build().eval()
    given = coverage.FORMS[form](network, torch.rand(2, *shape), tmp_path)
    share = float(coverage.outcome(given, coverage.CODES[code], shape, tmp_path))
    assert 0.9 <= share <= 1.1
