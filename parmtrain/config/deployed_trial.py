"""Try the deployed model of a configuration: a given one, one in a file, or the architecture that would be trained."""

from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from parmtrain.answers import Answer
from parmtrain.config import assemble
from parmtrain.config.deployed_model import deployed_model
from parmtrain.config.faults import Fault, Trial
from parmtrain.deployed import DeployedModel
from parmtrain.errors import DataError
from parmtrain.programs import Network, read_network
from parmtrain.query_type import QueryType
from parmtrain.tasks.base import Task


def try_deployed(trial: Trial, cfg: DictConfig, task: Task, given: Network | None) -> DeployedModel | None:
    """Return the deployed model that a configuration names or that is given; None, and record why, if it is at fault.

    Args:
        trial: Records the faults.
        cfg: A composed configuration.
        task: Its task.
        given: A deployed model in place of ``deployed.path``.
    """
    if given is not None:
        return _fits(trial, cfg, "deployed", lambda: given, task, "the deployed model")
    if cfg.deployed.path is not None:
        path = Path(cfg.deployed.path).expanduser()
        return _fits(
            trial, cfg, "deployed", lambda: read_network(path, _untrained(cfg, task)), task, f"deployed.path={path}"
        )
    if cfg.deployed.get("output") is not None:
        trial.found.append(
            Fault("deployed.output", f"deployed.output must be null without deployed.path, got {cfg.deployed.output}")
        )
    if cfg.deployed.takes is not QueryType.float32:
        trial.found.append(
            Fault(
                "deployed.takes",
                f"deployed.takes must be float32 without deployed.path, got {cfg.deployed.takes.name}",
            )
        )
    if not _labelled(task):
        trial.found.append(
            Fault("deployed", "deployed.path must name a deployed model: without labels, none can be trained, got null")
        )
        return None
    trial("deployed.fit", lambda: _try_fit(cfg))
    made = _fits(trial, cfg, "deployed.model", _untrained(cfg, task), task, "deployed.model")
    if made is not None and isinstance(made.network, Answer):
        trial.found.append(Fault("deployed.model", "deployed.model must return predictions [b, c] to be trained"))
    return made


def _labelled(task: Task) -> bool:
    """Return whether there are labels; True if the data itself is at fault, which is reported elsewhere."""
    try:
        task.source.locate()
    except DataError:
        return True
    return task.source.labelled


def _untrained(cfg: DictConfig, task: Task) -> Callable[[], nn.Module]:
    return lambda: assemble.architecture(cfg.deployed.model, task, task.query_shape)


def _fits(
    trial: Trial, cfg: DictConfig, key: str, network: Callable[[], Network], task: Task, name: str
) -> DeployedModel | None:
    def built() -> DeployedModel:
        return deployed_model(cfg, task, network(), name)

    made: DeployedModel | None = trial(key, built)
    return made


def _try_fit(cfg: DictConfig) -> None:
    optimizer = assemble.build(cfg.deployed.fit.optim)([nn.Parameter(torch.zeros(1))])
    assemble.schedule(cfg.deployed.fit.scheduler)(optimizer, total_steps=10)
