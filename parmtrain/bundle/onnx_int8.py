"""ONNX models whose parity models calculate with integers of 8 bits."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from parmtrain.bundle.formats import ExportFormat
from parmtrain.bundle.onnx import Onnx, OnnxPart, require_packages

BATCH = 32  # queries at a time, of those that calibrate


class QuantizedOnnx(Onnx):
    """Write a part as an ONNX model with weights and activations of 8 bits, calibrated on its example inputs.

    Weights have one scale for each output channel, activations one for each tensor (static, QDQ).
    """

    rounds = True

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Trace a module, quantize it, and write it.

        Raises:
            ExportError: If a package is missing.
        """
        require_packages("onnx", "onnxruntime")
        from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

        with TemporaryDirectory() as scratch:
            exact, prepared = Path(scratch) / "exact.onnx", Path(scratch) / "prepared.onnx"
            super().save(part, example, exact)
            quant_pre_process(exact, prepared, skip_symbolic_shape=True)
            names = [one.name for one in OnnxPart(exact.read_bytes()).inputs]
            quantize_static(
                prepared,
                path,
                _Examples(names, example),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )


class OnnxInt8(Onnx):
    """ONNX models: parity models calculate with integers of 8 bits, all other parts as they are."""

    of_parity_models: ClassVar[ExportFormat] = QuantizedOnnx()


class _Examples:
    """Example inputs in batches, as onnxruntime's calibration asks for them."""

    def __init__(self, names: list[str], example: tuple[Tensor, ...]) -> None:
        self._batches = _batches(names, example)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch by the names of inputs; None behind the last."""
        return next(self._batches, None)


def _batches(names: list[str], example: tuple[Tensor, ...]) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(example[0]), BATCH):
        yield {name: one[start : start + BATCH].numpy() for name, one in zip(names, example, strict=True)}
