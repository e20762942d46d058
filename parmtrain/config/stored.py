"""Read the configuration of an earlier run, and check what its readers rely on."""

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.bundle.description import TORCHSCRIPT
from parmtrain.config.check import outside_limits
from parmtrain.config.objects import object_faults
from parmtrain.config.schema import Config
from parmtrain.config.signatures import misnamed
from parmtrain.errors import DataError, reason_of
from parmtrain.run_folder import RunFolder

OLDER = {"export": {"_target_": TORCHSCRIPT}}
"""What configurations of older versions did not state."""


def stored_config(place: RunFolder) -> DictConfig:
    """Return the configuration of the run in a folder.

    Raises:
        DataError: If the folder holds no run, or its configuration is damaged or does not fit this version.
    """
    stored = place.read_config()
    for key, value in OLDER.items():
        stored.setdefault(key, value)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), stored)
        assert isinstance(merged, DictConfig)
        OmegaConf.to_container(merged, resolve=True)
        found = list(object_faults(merged)) or [*outside_limits(merged), *misnamed(merged)]
    except OmegaConfBaseException as fault:
        where = f"{fault.full_key}: " if getattr(fault, "full_key", "") else ""
        raise DataError(f"{place.config}: {where}{reason_of(fault)}") from fault
    if found:
        raise DataError(f"{place.config}: {found[0].sentence}")
    return merged
