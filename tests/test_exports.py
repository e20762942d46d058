"""A finished run in every format: the module's numbers, scores, and programs that others run without parmtrain."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from parmtrain import load
from parmtrain.bundle import Bundle
from parmtrain.bundle.onnx import Onnx
from parmtrain.errors import ConfigError, DataError
from parmtrain.export import export_run, main
from parmtrain.report.formats import Exported, formats_table
from parmtrain.result import Result
from parmtrain.run_folder import RunFolder
from tests.onnx_runtimes import outputs_of
from tests.small_runs import small_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
EXACT = ("torchscript", "torch_export", "onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Exported]]:
    """A run with heads and its four exports."""
    folder = tmp_path_factory.mktemp("exported")
    small_run(folder, "code=concat_heads", "k=2", "trainer.max_epochs=2")
    return folder, export_run(folder)


def test_every_format_gives_the_modules_numbers_or_is_scored(exported: tuple[Path, list[Exported]]) -> None:
    folder, rows = exported
    own = load(folder)
    assert all((folder / "exports" / row.format / "README.md").is_file() for row in rows)
    queries = torch.rand(7, 2, 1, 8, 8)
    scores = own.about["metrics"]["degraded"]
    for row in rows:
        assert row.why_not == ""
        bundle = load(folder / "exports" / row.format)
        assert bundle.about["deployed"] == own.about["deployed"]
        given, wanted = bundle.reconstruct(queries), own.reconstruct(queries)
        assert given.shape == wanted.shape
        if row.format in EXACT:
            assert bundle.about["promises"] == own.about["promises"]
            assert torch.allclose(given, wanted, atol=1e-4)
            assert (row.degraded, row.agreement) == (scores["accuracy"], scores["agreement"])
            assert row.difference is not None
            assert row.difference < 1e-4
        else:
            assert row.degraded == pytest.approx(scores["accuracy"], abs=0.05)
            assert row.difference is not None
            assert row.difference > 1e-4
            assert bundle.about["metrics"]["degraded"]["accuracy"] == row.degraded  # its own
        assert bundle.confidence is not None
        arrived = torch.tensor([[False, True, True]]).expand(7, 3)
        assert own.confidence is not None
        given_to_own = bundle.confidence(wanted, arrived), own.confidence(wanted, arrived)
        assert torch.allclose(*given_to_own, atol=1e-5 if row.format in EXACT else 0.3)


def test_integers_take_a_fraction_of_the_bytes(exported: tuple[Path, list[Exported]]) -> None:
    sizes = {row.format: row.parity_bytes for row in exported[1]}
    assert sizes["onnx_int8"] is not None
    assert sizes["onnx"] is not None
    assert sizes["onnx_int8"] < 0.5 * sizes["onnx"]


def test_the_table_is_written(exported: tuple[Path, list[Exported]]) -> None:
    with open(exported[0] / "exports" / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["format"] for row in rows] == ["torchscript", "torch_export", "onnx", "onnx_int8"]
    assert all(float(row["parity_us"]) > 0 and int(row["bytes"]) > int(row["parity_bytes"]) > 0 for row in rows)


def test_a_later_call_keeps_the_other_formats_and_replaces_a_folder_whole(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    export_run(tmp_path / "run", ["torchscript"])
    export_run(tmp_path / "run", ["torch_export"])
    exports = tmp_path / "run" / "exports"
    with open(exports / "table.csv", newline="") as file:
        assert [row["format"] for row in csv.DictReader(file)] == ["torchscript", "torch_export"]
    own = (finished.folder / "export" / "README.md").read_text()
    assert (exports / "torchscript" / "README.md").read_text() == own
    assert (exports / "torch_export" / "README.md").read_text() == own
    before = {file: file.read_bytes() for file in sorted(exports.rglob("*")) if file.is_file()}

    def fail(bundle: Bundle) -> None:
        raise RuntimeError("stopped behind what was written")

    monkeypatch.setattr("parmtrain.export.timings", fail)
    with pytest.raises(RuntimeError, match="stopped behind"):
        export_run(tmp_path / "run", ["torchscript"])
    assert {file: file.read_bytes() for file in sorted(exports.rglob("*")) if file.is_file()} == before
    RunFolder(tmp_path / "run").clear()
    assert not exports.exists()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("format", ["onnx", "onnx_int8"])
@pytest.mark.parametrize("groups", [1, 4])
def test_others_run_onnx_models(runtime: str, format: str, groups: int, exported: tuple[Path, list[Exported]]) -> None:
    folder = exported[0] / "exports" / format
    bundle, queries = Bundle(folder), torch.rand(groups, 2, 1, 8, 8)
    encoder, model, deployed, decoder = (
        folder / f"{name}.onnx" for name in ("encoder", "parity_model", "deployed", "decoder")
    )
    coded = outputs_of(encoder, runtime, query=queries.numpy())
    parity = outputs_of(model, runtime, query=coded[:, 0])
    own = outputs_of(deployed, runtime, query=queries.flatten(0, 1).numpy()).reshape(groups, 2, -1)
    workers = bundle.gather(torch.from_numpy(own), torch.from_numpy(parity).unsqueeze(1))
    arrived = torch.ones(groups, 3, dtype=torch.bool)
    arrived[:, 0] = False
    rebuilt = outputs_of(decoder, runtime, predictions=workers.numpy(), arrived=arrived.numpy())
    assert bundle.about["k"] == 2
    assert np.allclose(rebuilt, bundle.reconstruct(queries).numpy(), atol=1e-4 if format == "onnx" else 0.5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "code", ["linear", "lowres", "sum_corrected", "late_mix", "mean_parity", "nercc", "replication"]
)
def test_other_codes_are_exported_or_the_row_says_why(code: str, tmp_path: Path) -> None:
    small_run(tmp_path, f"code={code}", "k=2", "trainer.max_epochs=1")
    rows = export_run(tmp_path, ["torch_export", "onnx"])
    own = load(tmp_path)
    for row in rows:
        if row.bytes is None:
            assert (code, row.format) == ("linear", "onnx")
            assert row.why_not.startswith("LinearDecoder cannot be exported as ONNX: No ONNX function found for <Op")
            continue
        assert row.degraded == own.about["metrics"]["degraded"]["accuracy"]
    assert any(row.bytes is not None for row in rows)


@pytest.mark.thorough
def test_a_run_may_export_in_another_format_at_once(tmp_path: Path) -> None:
    result = small_run(tmp_path, "code=sum", "export=onnx", "trainer.max_epochs=1")
    bundle = load(tmp_path)
    assert sorted(path.name for path in bundle.folder.glob("*.onnx")) == [
        "confidence.onnx", "decoder.onnx", "deployed.onnx", "encoder.onnx", "parity_model.onnx",
    ]  # fmt: skip
    assert bundle.reconstruct(torch.rand(3, 2, 1, 8, 8)).isfinite().all()
    assert result.metrics["degraded"]["accuracy"] > 0.1


def test_mistakes_are_one_sentence(finished: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="formats: unknown tflite; choose from onnx, onnx_int8, torch_export"):
        export_run(finished.folder, ["tflite"])
    assert main([str(finished.folder), "format=onnx"]) == 1
    assert "format=onnx: must be key=value with a key from formats, data.root, deployed.path" in capsys.readouterr().err
    for formats, why in (("onnx,onnx", "formats must be different, got onnx twice"), ("", "unknown an empty name")):
        assert main([str(finished.folder), f"formats={formats}"]) == 1
        assert why in capsys.readouterr().err
    copy = tmp_path / "run"
    shutil.copytree(finished.folder, copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(DataError, match=r"best\.ckpt must exist to export the run in another format"):
        export_run(copy, ["onnx"])
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "best.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match=r"best\.ckpt must be the checkpoint of the run, got a damaged one"):
        export_run(copy, ["onnx"])


def test_what_a_format_lacks_can_be_read_in_the_table() -> None:
    console = Console(width=200, record=True)
    console.print(formats_table([Exported("onnx", why_not="needs onnx: pip install 'parmtrain[onnx]'")], "accuracy"))
    assert "pip install 'parmtrain[onnx]'" in console.export_text()


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler is installed")
def test_a_program_in_c_plus_plus_reconstructs(exported: tuple[Path, list[Exported]], tmp_path: Path) -> None:
    from torch.utils.cpp_extension import include_paths, library_paths

    folder = exported[0] / "exports" / "torchscript"
    libraries = library_paths()
    line = [
        "c++",
        "-std=c++20",
        "-O1",
        str(ROOT / "docs" / "cpp" / "reconstruct.cpp"),
        "-o",
        str(tmp_path / "reconstruct"),
    ]
    line += [
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *(f"-I{one}" for one in include_paths()),
    ]
    line += [*(f"-L{one}" for one in libraries), *(f"-Wl,-rpath,{one}" for one in libraries)]
    line += ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"]
    built = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stderr
    asked = [str(tmp_path / "reconstruct"), str(folder), "2", "1", "8", "8"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()
    torch.manual_seed(0)
    queries = torch.rand(1, 2, 1, 8, 8)
    wanted = load(folder).reconstruct(queries)[0, 0]
    assert said[1].split()[0] == "reconstructed"
    assert np.allclose([float(one) for one in said[1].split()[1:]], wanted, atol=1e-3)


def test_a_run_does_not_export_what_it_did_not_score(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"export must not round numbers.*: parmtrain export RUN"):
        small_run(tmp_path, "export=onnx_int8")


def test_an_instance_takes_as_many_threads_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "part.onnx"
    Onnx().save(torch.nn.Linear(4, 2).eval(), (torch.rand(3, 4),), path)
    part, before = Onnx().load(path), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        part(torch.rand(2, 4))
        assert part._session.get_session_options().intra_op_num_threads == 1
    finally:
        torch.set_num_threads(before)
