"""What a training depends on: the keys of its configuration that must be the same when it is resumed."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parmtrain.config.own_code import own_sources

UNSEEN = ("cache", "ckpt_path", "overwrite", "logger", "objectives", "progress")  # how a run is done
AFTERWARDS = ("export", "metrics", "unavailable", "confidence", "accept")  # what follows the training
ELSEWHERE = (*UNSEEN, *AFTERWARDS, "data")
PLACES = ("task.source.root", "task.source.cache", "task.cache", "deployed.path", "deployed.bundle")
NEWER = (("deployed.takes", "float32"), ("deployed.flops", None))  # keys that older versions did not have
MACHINE = tuple(f"trainer.{name}" for name in ("accelerator", "devices", "num_nodes", "strategy", "log_every_n_steps"))


def identity(cfg: DictConfig, trained_here: bool) -> dict[str, Any]:
    """Return the keys that a training depends on, with plain values.

    Args:
        cfg: A composed configuration.
        trained_here: Whether the deployed model is trained as configured, and not given.
    """
    content = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(content, dict)
    values = leaves({str(key): value for key, value in content.items() if key not in ELSEWHERE})
    left_out = {*PLACES, *MACHINE}
    sources = {f"the code of {name}": digest for name, digest in own_sources(content).items()}
    return sources | {
        key: value
        for key, value in values.items()
        if key not in left_out and (trained_here or not key.startswith("deployed.fit.")) and (key, value) not in NEWER
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return a sentence part for each key that differs, those of the top level first.

    Example:
        >>> differences({"seed": 0, "optim.lr": 0.1}, {"seed": 1, "optim.lr": 0.1})
        ['seed=0, not seed=1']
    """
    keys = sorted(theirs.keys() | ours.keys(), key=lambda key: (key.count("."), key))
    return [f"{key}={theirs.get(key)}, not {key}={ours.get(key)}" for key in keys if theirs.get(key) != ours.get(key)]


def first_of(differing: list[str]) -> str:
    """Return the first difference, and how many there are more.

    Example:
        >>> first_of(["seed=0, not seed=1", "k=2, not k=3"])
        'seed=0, not seed=1 (and 1 more difference)'
    """
    more = len(differing) - 1
    return differing[0] + (f" (and {more} more difference{'s' if more > 1 else ''})" if more else "")


def leaves(node: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries, by keys with dots.

    Example:
        >>> leaves({"k": 2, "optim": {"lr": 0.1}})
        {'k': 2, 'optim.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found
