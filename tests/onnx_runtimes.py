"""ONNX models run by others: onnxruntime in this process, OpenVINO in one of its own."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

IN_OPENVINO = """
import sys
import numpy as np
import openvino
program = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], program(dict(np.load(sys.argv[2])))[0])
"""


def outputs_of(path: Path, runtime: str, **inputs: np.ndarray) -> np.ndarray:
    """Run one ONNX model in onnxruntime, or in OpenVINO.

    OpenVINO gets a process of its own: a process that has run it may crash once one that was forked from it ends.
    """
    if runtime == "onnxruntime":
        session = pytest.importorskip(runtime).InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, inputs)[0])
    if find_spec(runtime) is None:
        pytest.skip("needs openvino")
    with TemporaryDirectory() as folder:
        given, answer = Path(folder) / "given.npz", Path(folder) / "answer.npy"
        np.savez(given, **inputs)  # type: ignore[arg-type]
        subprocess.run([sys.executable, "-c", IN_OPENVINO, str(path), str(given), str(answer)], check=True)
        return np.asarray(np.load(answer))
