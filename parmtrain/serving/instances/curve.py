"""Measure how long a model of a bundle takes by batch size: ``parmtrain serve --curve bundle=RUN``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parmtrain.files import cannot_write
from parmtrain.serving.instances.model_server import ModelSettings, read_model
from parmtrain.serving.simulation.batch_curve import BatchCurve
from parmtrain.settings import require_valid, setting

MOST = 4096


@dataclass
class CurveSettings(ModelSettings):
    """What to measure, and where to write it."""

    sizes: list[int] = setting([1, 2, 4, 8, 16, 32], "numbers of queries in a batch")
    rounds: int = setting(20, "how often each size is run; the median counts", above=0)
    file: str = setting("batch_curve.csv", "CSV file to write, for batch_curve=… of parmtrain simulate")

    def faults(self) -> Iterator[str]:
        """Yield every fault except numbers out of bounds."""
        yield from super().faults()
        if (odd := next((size for size in self.sizes if not 1 <= size <= MOST), None)) is not None:
            yield f"sizes must be integers from 1 to {MOST}, got {odd}"
        if not self.file:
            yield "file must be a file, got an empty name"
        elif why := cannot_write(Path(self.file).expanduser().parent):
            yield f"file={self.file} cannot be written: {why}"


def measure_curve(settings: CurveSettings) -> None:
    """Measure, print and write."""
    require_valid(settings)
    model = read_model(settings)
    model.runner.warm_up(model.query_shape)
    curve = BatchCurve.measured(model.run, model.query_shape, settings.sizes, settings.rounds)
    path = Path(settings.file).expanduser()
    curve.write(path)
    for size, seconds in zip(curve.sizes, curve.seconds, strict=True):
        print(f"{size} {'query' if size == 1 else 'queries'}: {1e3 * seconds:.3g} ms, {1e3 * seconds / size:.3g} each")
    print(f"in {path}")
