"""Whether a search makes large and small what its objectives are."""

import os
from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from omegaconf import ListConfig, OmegaConf

from parmtrain.config.folder import config_folder
from parmtrain.config.overrides import each_value
from parmtrain.config.sources import all_for_hydra, searched_too
from parmtrain.objectives import DEGRADED

LARGE, SMALL = "maximize", "minimize"


def search_faults(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Return a sentence if the directions of a search do not belong to its objectives; none without a search.

    Args:
        overrides: Overrides that compose, each with one value or several.
        config_dir: A folder with YAML files of your own.

    Example:
        >>> search_faults(["hparams_search=one_k", "objectives=[parity_bytes]"])
        ['hydra.sweeper.direction must be minimize for objectives=[parity_bytes], got maximize']
    """
    single = [next(iter(each_value(override))) for override in overrides]
    with initialize_config_dir(config_dir=os.fspath(config_folder()), version_base="1.3"):
        given = [*all_for_hydra(single), *searched_too(config_dir)]
        cfg = compose("config", overrides=given, return_hydra_config=True)
    direction = OmegaConf.select(cfg, "hydra.sweeper.direction")
    if direction is None:
        return []
    directions = [
        str(getattr(one, "name", one)) for one in (direction if isinstance(direction, ListConfig) else [direction])
    ]
    wanted = [LARGE if name == DEGRADED else SMALL for name in cfg.objectives]
    if directions == wanted:
        return []
    named = f"objectives=[{','.join(cfg.objectives)}]"
    return [f"hydra.sweeper.direction must be {_text(wanted)} for {named}, got {_text(directions)}"]


def _text(directions: Sequence[str]) -> str:
    return directions[0] if len(directions) == 1 else f"[{','.join(directions)}]"
