"""Data sets that were given from Python, in the place of a configured source."""

from typing import Any

from omegaconf import DictConfig, ListConfig

from parmtrain.errors import ConfigError
from parmtrain.tasks.datasets import FromPython, source_of
from parmtrain.tasks.source import Source


def with_data(cfg: DictConfig, data: Any) -> tuple[DictConfig, Source | None]:
    """Return a configuration whose data was given from Python, and the data as a source.

    Args:
        cfg: A composed configuration.
        data: As for ``parmtrain.run``; None leaves the configuration as it is.

    Raises:
        ConfigError: If the data is no data set, or the configuration does not state the shape of a query.
    """
    if data is None:
        return cfg, None
    changed = cfg.copy()
    shape, outputs = changed.task.get("query_shape"), changed.task.get("outputs")
    if not isinstance(shape, ListConfig) or not isinstance(outputs, int):
        raise ConfigError([f"task.query_shape and task.outputs must be set for data sets, got {shape} and {outputs}"])
    changed.task.source = {"_target_": f"{FromPython.__module__}.{FromPython.__name__}"}
    return changed, source_of(data, list(shape), outputs)
