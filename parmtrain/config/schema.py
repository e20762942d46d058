"""The typed top-level keys of a configuration."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from parmtrain.query_type import QueryType


class Teacher(Enum):
    """The prediction of the deployed model that is the training target."""

    query = "F on the very query that the encoder saw, augmented as it is"
    unaugmented = "F on the unaugmented query: the original's shortcut, one look-up"


class Start(Enum):
    """Initial weights of parity models."""

    deployed = "the deployed model's, where names and shapes match"
    random = "random"


@dataclass
class DataConfig:
    """Where the data is, and how to load it."""

    root: str = "data"
    download: bool = True
    workers: int = 2


@dataclass
class FitConfig:
    """How to train a deployed model if none is given."""

    epochs: int = 30
    batch: int = 128
    seed: int = 0
    optim: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] | None = field(default_factory=dict)


@dataclass
class DeployedConfig:
    """The deployed model: a file, or an architecture that is trained once."""

    path: str | None = None
    output: Any = None
    takes: QueryType = QueryType.float32
    bundle: bool = True
    flops: float | None = None
    model: dict[str, Any] = field(default_factory=dict)
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass
class ParityConfig:
    """The parity models; by default they have the deployed model's architecture."""

    model: dict[str, Any] = field(default_factory=dict)
    start: Start = Start.deployed
    channels_last: bool = False
    compile: bool = False


@dataclass
class AcceptConfig:
    """What is promised of the reconstructions that a service accepts."""

    agreement: float | None = 0.98
    risk: float | None = None
    certainty: float = 0.9


@dataclass
class Config:
    """The top level of a configuration; ``conf/config.yaml`` explains each key."""

    k: int = 2
    r: int | None = None
    seed: int = 0
    groups: int = 64
    teacher: Teacher = Teacher.query
    partial: bool = False
    objectives: list[str] = field(default_factory=lambda: ["degraded"])
    unavailable: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.1])
    ckpt_path: str | None = None
    progress: bool = True
    overwrite: bool = False
    cache: str = "~/.cache/parmtrain"
    layout: str = "grid"
    data: DataConfig = field(default_factory=DataConfig)
    task: dict[str, Any] = MISSING
    code: dict[str, Any] = MISSING
    deployed: DeployedConfig = field(default_factory=DeployedConfig)
    parity: ParityConfig = field(default_factory=ParityConfig)
    loss: dict[str, Any] = MISSING
    optim: dict[str, Any] = MISSING
    scheduler: dict[str, Any] | None = None
    averaging: dict[str, Any] | None = None
    trainer: dict[str, Any] = MISSING
    callbacks: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] | None = None
    export: dict[str, Any] = MISSING
    confidence: dict[str, Any] | None = None
    accept: AcceptConfig = field(default_factory=AcceptConfig)


def register() -> None:
    """Register the schema with Hydra, under the name in the defaults list of ``conf/config.yaml``."""
    ConfigStore.instance().store(name="schema", node=Config)


def resolved_yaml(cfg: DictConfig) -> str:
    """Return a configuration as YAML with every interpolation resolved."""
    return OmegaConf.to_yaml(cfg, resolve=True)
