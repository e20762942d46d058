"""A network as the deployed model of a task: given prepared queries of its type, and with one prediction as answer."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from parmtrain.answers import answering
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError
from parmtrain.evaluation.timed_flops import timed_flops
from parmtrain.probes import check_predictions, probes
from parmtrain.programs import Network
from parmtrain.query_type import QueryType, as_type
from parmtrain.tasks.base import Task


def deployed_model(
    cfg: DictConfig, task: Task, network: Network, name: str, cache: Path | None = None
) -> DeployedModel:
    """Wrap a network as the deployed model of a task.

    Args:
        cfg: The configuration.
        task: The task.
        network: A module or a function.
        name: Its name in error messages.
        cache: Folder of the cache, for what its FLOPs are estimated to be if they cannot be counted; None for none.

    Raises:
        DeployedModelError: If it does not fit the task.
    """
    prepared = nn.Sequential(*task.input.preprocess.children(), as_type(cfg.deployed.takes, _scale(cfg, task)))
    network = answering(network, cfg.deployed.get("output"), prepared(probes(task.query_shape)), name, task.outputs)
    deployed = DeployedModel(network, preprocess=prepared)
    deployed.stated_flops = cfg.deployed.get("flops")
    check_predictions(deployed, task.query_shape, task.outputs, name)
    if deployed.stated_flops is not None and (own := DeployedModel(network, prepared).flops(task.query_shape)):
        raise ConfigError(
            [
                f"deployed.flops must be null where FLOPs can be counted, {own:,.0f} here, got "
                f"{deployed.stated_flops:,.0f}"
            ]
        )
    if not deployed.counted_flops(task.query_shape):
        deployed.timed_flops = timed_flops(deployed, task.query_shape, cache)
    return deployed


def _scale(cfg: DictConfig, task: Task) -> float:
    """Return what stored pixels are divided by, for a deployed model that takes them as they were.

    Raises:
        ConfigError: If queries are more than pixels that are scaled.
    """
    if cfg.deployed.takes is not QueryType.uint8:
        return 1.0
    settings = task.input.settings
    if "scale" not in settings or task.input.features is not None:
        raise ConfigError(["deployed.takes=uint8 needs queries that are scaled pixels, got others"])
    for name, wanted in (("mean", 0), ("std", 1)):
        given = settings[name] if isinstance(settings[name], list) else [settings[name]]
        if any(value != wanted for value in given):
            raise ConfigError([f"task.input.{name} must be [{wanted}.0] with deployed.takes=uint8, got {given}"])
    return float(settings["scale"])
