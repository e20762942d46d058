"""From a configuration to the objects that it names."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from parmtrain.codes import Code
from parmtrain.config.schema import Start
from parmtrain.deployed import DeployedModel, Network, check_predictions, read_network, weights
from parmtrain.errors import ParmtrainError
from parmtrain.metrics.streaming import validation_metrics
from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits
from parmtrain.training.deployed import train_deployed
from parmtrain.training.parity_module import ParityModule

log = logging.getLogger(__name__)


def build(node: Any, **more: Any) -> Any:
    """Instantiate what a node of the configuration names; an error of ours comes out as it was raised."""
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as fault:
        if isinstance(fault.__cause__, ParmtrainError):
            raise fault.__cause__ from fault
        raise


def architecture(node: DictConfig, task: Task, shape: tuple[int, ...], heads: int = 1) -> nn.Module:
    """Build a network with random weights from queries, or parity queries, of ``shape`` to ``heads`` predictions."""
    own = {"query_shape": list(task.input.model_shape(shape)), "outputs": heads * task.outputs}
    model: nn.Module = build(node, **{name: value for name, value in own.items() if name in node})
    return model


def fresh_model(
    cfg: DictConfig, task: Task, deployed: DeployedModel, shape: tuple[int, ...], heads: int = 1
) -> nn.Module:
    """Build one parity model for parity queries of ``shape``, from F's weights where the configuration says so."""
    model = architecture(cfg.parity.model or cfg.deployed.model, task, shape, heads)
    if cfg.parity.start is Start.deployed:
        start_from(model, deployed)
    if cfg.parity.channels_last:
        model.to(memory_format=torch.channels_last)
    if cfg.parity.compile:
        model.compile()
    return model if task.input.features is None else nn.Sequential(task.input.features, model)


def start_from(model: nn.Module, deployed: DeployedModel) -> list[str]:
    """Copy the deployed model's weights into ``model`` where names and shapes match, and return those names.

    Example:
        >>> start_from(nn.Linear(4, 2), DeployedModel(nn.Linear(4, 2))), start_from(nn.Linear(8, 2), DeployedModel(abs))
        (['weight', 'bias'], [])
    """
    theirs = weights(deployed.network)
    ours = model.state_dict()
    matching = {name: theirs[name] for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    model.load_state_dict({**ours, **matching})
    return list(matching)


def begin_with(model: nn.Module, output: Tensor) -> None:
    """Set the bias of a model's last linear layer to an output ``[c]``, where it has one.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> begin_with(model, torch.tensor([1.0, 2.0]))
        >>> model[2].bias.data
        tensor([1., 2.])
    """
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    for layer in last:
        if layer.bias is not None and layer.bias.shape == output.shape:
            layer.bias.data.copy_(output)


def shared(module: ParityModule) -> tuple[int, int]:
    """Return how many tensors of the parity models are equal to one of the deployed model's, and of how many."""
    theirs = weights(module.deployed.network).values()
    ours = [parameter for model in module.parity_models for parameter in model.parameters()]
    return sum(any(torch.equal(value, other) for other in theirs) for value in ours), len(ours)


def deployed_model(
    cfg: DictConfig, task: Task, splits: "Splits[QuerySet]", given: Network | None = None
) -> DeployedModel:
    """Return the deployed model: the one given, the one in ``deployed.path``, or one that is trained for the task once.

    Raises:
        DeployedModelError: If it cannot be read or does not fit the task.
        Interrupted: If the user stops its training.
    """
    if given is not None:
        network, name = given, "the deployed model"
    elif cfg.deployed.path is not None:
        path = Path(cfg.deployed.path).expanduser()
        network, name = (
            read_network(path, partial(architecture, cfg.deployed.model, task, task.query_shape)),
            f"deployed.path={path}",
        )
    else:
        network, name = _trained(cfg, task, splits), "the deployed model"
    deployed = DeployedModel(network, door=task.input.door)
    check_predictions(deployed, task.query_shape, task.outputs, name)
    return deployed


def _trained(cfg: DictConfig, task: Task, splits: "Splits[QuerySet]") -> nn.Module:
    pl.seed_everything(cfg.deployed.fit.seed, verbose=False)
    machine = {name: cfg.trainer[name] for name in ("accelerator", "precision") if name in cfg.trainer}
    recipe = {
        **cast("dict[str, Any]", OmegaConf.to_container(cfg.deployed.fit, resolve=True)),
        "model": OmegaConf.to_container(cfg.deployed.model, resolve=True),
        **{name: OmegaConf.to_object(cfg.task[name]) for name in ("augment", "augment_query") if cfg.task.get(name)},
        "precision": machine.get("precision"),
    }
    return train_deployed(
        task,
        splits,
        architecture(cfg.deployed.model, task, task.query_shape),
        optim=build(cfg.deployed.fit.optim),
        schedule=build(cfg.deployed.fit.scheduler),
        trainer=partial(_trainer, pl.Trainer, logger=False, devices=1, **machine),
        recipe=recipe,
        cache=cache_folder(cfg),
        workers=cfg.data.workers,
    )


def module(cfg: DictConfig, task: Task, deployed: DeployedModel, prior: Tensor | None = None) -> ParityModule:
    """Put the module together that trains parity models.

    Args:
        cfg: The configuration.
        task: Its task.
        deployed: Its deployed model.
        prior: The prediction ``[c]`` that queries have on average. Where there is one, parity models begin with the
            target that it makes: the sum code's with k times the mean box.
    """
    pl.seed_everything(cfg.seed, verbose=False)
    code: Code = build(cfg.code)
    models = code.parity_models(task.query_shape, deployed, partial(fresh_model, cfg, task, deployed))
    if prior is not None:
        for j, model in enumerate(models):
            if not isinstance(model, DeployedModel):
                begin_with(model, code.target(prior.expand(1, code.k, -1))[0, j])
    return ParityModule(
        deployed,
        code,
        models,
        loss=build(cfg.loss),
        optim=build(cfg.optim),
        schedule=build(cfg.scheduler),
        metrics=validation_metrics(task.measures),
    )


def trainer(cfg: DictConfig, callbacks: Sequence[pl.Callback], logger: Any) -> pl.Trainer:
    """Build the Lightning trainer, which averages weights where the configuration says so."""
    averaging = [build(cfg.averaging)] if cfg.averaging else []
    return _trainer(partial(build, cfg.trainer), callbacks=[*averaging, *callbacks], logger=logger)


def _trainer(make: Any, **settings: Any) -> pl.Trainer:
    made: pl.Trainer = make(
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0, **settings
    )
    return made


def cache_folder(cfg: DictConfig) -> Path:
    """Return where trained deployed models and predictions are kept."""
    return Path(cfg.cache).expanduser()


def device_of(fitting: pl.Trainer) -> torch.device:
    """Return the device that a trainer computes on."""
    return fitting.strategy.root_device
