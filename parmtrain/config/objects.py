"""Which keys of a configuration must name a class or a function, and which may be null."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parmtrain.config.faults import Fault
from parmtrain.config.sources import options

REQUIRED = {
    "task": "task",
    "code": "code",
    "loss": "loss",
    "optim": "optim",
    "trainer": "trainer",
    "export": "export",
    "task.source": None,
    "task.input": None,
    "deployed.model": "model",
    "deployed.fit.optim": "optim",
}
"""Keys that must name a class or a function, each with its group."""
OPTIONAL = {
    "scheduler": "scheduler",
    "logger": "logger",
    "averaging": "averaging",
    "confidence": "confidence",
    "parity.model": "model",
    "deployed.fit.scheduler": "scheduler",
    "task.augment": None,
    "task.augment_query": "augment_query",
}
"""Keys that may be null, and must name a class or a function otherwise."""
LISTED = ("callbacks", "metrics")
"""Keys whose entries must each name a class or a function."""


def object_faults(cfg: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each key that must name a class or a function and does not.

    Args:
        cfg: A composed configuration.
    """
    if _node(cfg, "parity") is None:
        yield Fault("parity", f"parity must be one of {', '.join(options('parity'))}, got none")
    for key, group in (REQUIRED | OPTIONAL).items():
        above = key.rpartition(".")[0]
        if above and _node(cfg, above) is None:
            continue
        node = _node(cfg, key)
        if (key in REQUIRED or node not in (None, {})) and not _names_one(node):
            yield _fault(key, group, node)
    for key in LISTED:
        node = _node(cfg, key)
        if isinstance(node, DictConfig):
            for name in node:
                if not _names_one(node[name]):
                    yield _fault(f"{key}.{name!s}", None, node[name])
        elif node is not None:
            yield Fault(key, f"{key} must be a list of options: {', '.join(options(key))}, got {node}")


def _node(cfg: DictConfig, key: str) -> Any:
    """Return the node of a key; None if it is missing or null."""
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def _names_one(node: Any) -> bool:
    return isinstance(node, DictConfig) and node.get("_target_") is not None


def _fault(key: str, group: str | None, node: Any) -> Fault:
    among = f"be one of {', '.join(options(group))}, or name" if group else "name"
    return Fault(key, f"{key} must {among} a class with {key}._target_, got {_words(node)}")


def _words(node: Any) -> str:
    if isinstance(node, DictConfig):
        given = {str(name): value for name, value in node.items_ex(resolve=False) if name != "_target_"}
        return ", ".join(f"{name}={value}" for name, value in given.items()) or "none"
    return "none" if node is None else str(OmegaConf.to_container(node) if isinstance(node, ListConfig) else node)
