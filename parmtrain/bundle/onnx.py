"""ONNX models, which onnxruntime, OpenVINO, Triton and others run without PyTorch."""

import logging
import warnings
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from parmtrain.errors import ExportError, reason_of
from parmtrain.onnx_flops import SILENT
from parmtrain.onnx_programs import INSTALL

if TYPE_CHECKING:
    import onnxruntime

OPSET = 20
NAMES = {1: ["query"], 2: ["predictions", "arrived"]}  # of inputs, by their number
OUTPUT = "prediction"
NEEDED = ("onnx", "onnxruntime", "onnxscript")


class OnnxPart(nn.Module):
    """A part of a bundle as an ONNX model, run by onnxruntime on the CPU.

    Its bytes are a buffer, so it can be sent to other processes and has a fingerprint.

    Args:
        content: The bytes of the model.

    Raises:
        ExportError: If onnxruntime is not installed.
    """

    content: Tensor

    def __init__(self, content: bytes) -> None:
        super().__init__()
        require_packages("onnxruntime")
        self.register_buffer("content", torch.frombuffer(bytearray(content), dtype=torch.uint8))

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        import onnxruntime  # at the first call: it takes as many threads as PyTorch has then

        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = torch.get_num_threads()
        content = self.content.cpu().numpy().tobytes()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @property
    def inputs(self) -> list[Any]:
        """Names, types and shapes of its inputs, as onnxruntime states them."""
        return list(self._session.get_inputs())

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map the inputs of the part to its output."""
        given = {one.name: value.detach().cpu().numpy() for one, value in zip(self.inputs, inputs, strict=True)}
        (output,) = self._session.run(None, given)
        return torch.from_numpy(np.asarray(output)).to(inputs[0].device)

    def __getstate__(self) -> dict[str, Any]:
        """Return a state that can be pickled: without the session, which is made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}


class Onnx:
    """Write parts of a bundle as ONNX models.

    Their input is ``query``, or ``predictions`` and ``arrived``, their output ``prediction``. Needs onnx, onnxruntime
    and onnxscript.
    """

    suffix = ".onnx"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Trace a module for batches of any size, and write it.

        Raises:
            ExportError: If a package is missing.
        """
        require_packages(*NEEDED)
        if isinstance(part, OnnxPart):
            path.write_bytes(part.content.cpu().numpy().tobytes())
            return
        names = NAMES.get(len(example), [f"input_{i}" for i in range(len(example))])
        batch = torch.export.Dim("batch", min=1)
        level = logging.getLogger("torch.onnx").level
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                torch.onnx.export(
                    part,
                    example,
                    path,
                    input_names=names,
                    output_names=[OUTPUT],
                    opset_version=OPSET,
                    dynamic_shapes=tuple({0: batch} for _ in example),
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
            except Exception as fault:  # the exporter can raise anything
                cause: BaseException = fault
                while cause.__cause__ is not None:
                    cause = cause.__cause__
                raise ExportError(f"{type(part).__name__} cannot be exported as ONNX: {reason_of(cause)}") from fault
            finally:
                logging.getLogger("torch.onnx").setLevel(level)

    def load(self, path: Path) -> OnnxPart:
        """Load a model.

        Raises:
            ExportError: If onnxruntime is not installed.
        """
        return OnnxPart(path.read_bytes())


def require_packages(*names: str) -> None:
    """Raise an ``ExportError`` unless packages are installed."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ExportError(f"bundles in ONNX need {' and '.join(missing)}: {INSTALL}")
