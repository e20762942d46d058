"""What is shipped: the wheel, the bundle without parmtrain, the README."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import assert_type

import pytest
import torch
from omegaconf import DictConfig

import parmtrain
from parmtrain import compose, run
from parmtrain.tasks.idx import IdxImages

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parents[1]


def test_an_installed_wheel_carries_its_configuration(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns(".*", "build", "runs", "multirun", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("parmtrain-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    show = "import parmtrain, parmtrain.__main__ as main; print(parmtrain.__file__); main.main(['--cfg', 'job'])"
    ended = subprocess.run(
        [sys.executable, "-c", show],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.startswith(f"{site}/parmtrain/__init__.py\n")
    assert "_target_: parmtrain.codes.Sum" in ended.stdout
    assert (site / "parmtrain" / "plots.mplstyle").is_file()
    shipped = {path.relative_to(site / "parmtrain") for path in (site / "parmtrain" / "conf").rglob("*.yaml")}
    assert shipped == {path.relative_to(HERE) for path in (HERE / "conf").rglob("*.yaml")}


def test_a_wheel_from_the_source_archive_is_that_of_the_repository(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns(".*", "build", "runs", "multirun", "*.egg-info"))
    for hook in ("wheel", "sdist"):
        program = f"from setuptools import build_meta; build_meta.build_{hook}({str(tmp_path)!r})"
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=source, check=True, capture_output=True)
    (archive,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    program = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path / 'again')!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=unpacked, check=True, capture_output=True)
    (again,) = (tmp_path / "again").glob("*.whl")
    assert held(wheel) == held(again)


def held(wheel: Path) -> dict[str, int]:
    """Return the files of a wheel, with what identifies their content."""
    with zipfile.ZipFile(wheel) as packed:
        return {file.filename: file.CRC for file in packed.infolist() if not file.filename.endswith("RECORD")}


def test_a_bundle_needs_pytorch_alone(tmp_path: Path) -> None:
    result = run(compose("trainer.max_epochs=1", "deployed.fit.epochs=4"), tmp_path / "run")
    queries = torch.rand(5, 2, 1, 8, 8)
    with torch.no_grad():
        expected = result.module(queries)
    torch.save((queries, expected), tmp_path / "numbers.pt")
    script = """
import sys, torch
assert not [name for name in sys.modules if name.startswith("parmtrain")]
sys.modules["parmtrain"] = None  # importing it fails
encoder, model, decoder = (torch.jit.load(f"run/export/{name}.ts") for name in ("encoder", "parity_model", "decoder"))
queries, expected = torch.load("numbers.pt")
for groups in (1, 2, 5):
    parity_queries = encoder(queries[:groups])
    parity = model(parity_queries[:, 0])[:, None]
    assert torch.allclose(parity, expected[:groups], atol=1e-5)
    predictions = torch.randn(groups, 2, 10)
    arrived = torch.tensor([[False, True, True]]).expand(groups, 3)
    decoded = decoder(torch.cat([predictions, parity], 1), arrived)
    assert torch.allclose(decoded[:, 0], (parity[:, 0] - predictions[:, 1]), atol=1e-5)
    assert torch.equal(decoded[:, 1], predictions[:, 1])
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, check=True)
    about = json.loads((tmp_path / "run" / "export" / "bundle.json").read_text())
    assert about["shapes"]["query"] == [1, 8, 8]
    assert (about["task"], about["code"], about["k"], about["r"]) == ("digits", "sum", 2, 1)


def test_the_public_names_have_types() -> None:
    """Let the type checker see what users get; ``Any`` would fail ``make check``."""
    cfg = parmtrain.compose("k=3")
    assert_type(cfg, DictConfig)
    assert_type(parmtrain.DeployedModel(abs).fingerprint, str)
    assert set(parmtrain.__all__) <= set(dir(parmtrain))
    assert all(getattr(parmtrain, name).__module__.startswith("parmtrain.") for name in parmtrain.__all__)


def test_the_real_fashion_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    folder = os.environ.get("PARMTRAIN_FASHION_MNIST")
    if folder is None:
        pytest.skip("PARMTRAIN_FASHION_MNIST is not set to the folder of Debian's dataset-fashion-mnist")
    train, val, test = IdxImages(folder, "FashionMNIST", validation=5000).read()
    assert (len(train), len(val), len(test)) == (55_000, 5_000, 10_000)
    everything = torch.cat([train.stored, val.stored]).float() / 255
    assert everything.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert everything.std().item() == pytest.approx(0.3530, abs=1e-4)
    assert torch.cat([train.labels, val.labels]).bincount().tolist() == [6000] * 10


def test_what_runs_one_model_imports_nothing_of_training() -> None:
    code = (
        "import sys\n"
        "from parmtrain.serving.instances.model_server import InstanceSettings, one_model\n"
        "one_model(InstanceSettings(bundle='example:digits'))\n"
        "sys.exit(sorted({'pytorch_lightning', 'torchmetrics', 'torchvision', 'matplotlib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == "[]\n"


def test_what_a_command_says_of_missing_packages_needs_none_of_them() -> None:
    code = (
        "import sys, parmtrain.serve; sys.exit(sorted({'starlette', 'uvicorn', 'aiohttp', 'ray'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == "[]\n"
