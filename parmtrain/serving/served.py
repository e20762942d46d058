"""What is served, and how: a bundle, the deployed model that it is for, and the instances of each."""

from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from parmtrain.bundle import Bundle
from parmtrain.deployed import DeployedModel
from parmtrain.errors import ConfigError, DataError, DeployedModelError
from parmtrain.serving.events import Limits
from parmtrain.serving.scheme import Scheme, scheme_of, uncoded


@dataclass
class ServeSettings:
    """How a bundle is served; ``python -m parmtrain.serve --help`` explains each."""

    bundle: str = ""
    k: int | None = None
    deployed: str | None = None
    coded: bool = True
    replicas: int = 2
    parity_replicas: int | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int = 8080
    cpus: float = 0.0
    deadline: float = 10.0
    copy_after: float = 1.0
    reconstruct_after: float = 0.0
    hung_after: float = 60.0
    waiting: int = 1000

    def check(self) -> None:
        """Raise a ``ConfigError`` with every value that is not right."""
        positive = ("replicas", "deadline", "hung_after", "waiting")
        found = [f"{name}={getattr(self, name)}: more than 0 is right" for name in positive if getattr(self, name) <= 0]
        rest = ("copy_after", "reconstruct_after", "cpus")
        found += [f"{name}={getattr(self, name)}: 0 or more is right" for name in rest if getattr(self, name) < 0]
        if self.parity_replicas is not None and self.parity_replicas < 1:
            found.append(f"parity_replicas={self.parity_replicas}: 1 or more is right")
        if not self.bundle:
            found.append("bundle=: the folder of a run, or its export folder, is right")
        if found:
            raise ConfigError(found)

    @property
    def local(self) -> bool:
        """Whether only this machine is to ask."""
        return self.host == "localhost" or self.host.startswith("127.")

    @property
    def limits(self) -> Limits:
        """The frontend's limits."""
        return Limits(self.deadline, self.copy_after, self.reconstruct_after, self.hung_after, self.waiting)


@dataclass
class Served:
    """A bundle with the deployed model that it is for."""

    bundle: Bundle
    deployed: DeployedModel
    coded: bool

    @property
    def query_shape(self) -> tuple[int, ...]:
        """Shape of one query."""
        return tuple(self.bundle.about["shapes"]["query"])

    @property
    def outputs(self) -> int:
        """Length of one prediction."""
        return int(self.bundle.about["shapes"]["prediction"][0])

    @property
    def width(self) -> int:
        """Length of an output of a parity model."""
        return int(self.bundle.about["shapes"]["worker_output"][0])

    @property
    def default(self) -> Tensor | None:
        """What the decoder answers without any output ``[c]``; None for codes that have no such answer."""
        n = self.bundle.n
        answer = self.bundle.decode(torch.zeros(1, n, self.width), torch.zeros(1, n, dtype=torch.bool))[0, 0]
        return answer if bool(answer.isfinite().all()) else None

    @property
    def models(self) -> list[nn.Module]:
        """The model of each pool."""
        own = self.bundle.about["parity"]["models"] if self.coded else 0
        return [self.deployed, *(self.bundle.parity_models[:own])]  # type: ignore[list-item]

    @property
    def scheme(self) -> Scheme:
        """Who runs what."""
        return scheme_of(self.bundle, len(self.models) - 1, self.width) if self.coded else uncoded()


def read_served(settings: ServeSettings) -> Served:
    """Load what settings name: TorchScript archives, and the deployed model of the run that the bundle is of.

    Raises:
        ConfigError: If the bundle has another k.
        DataError: If there is no run beside the bundle that says which deployed model it is for.
        DeployedModelError: If the deployed model is another one.
        ExportError: If the bundle is incomplete or changed.
    """
    from parmtrain.config import assemble  # and with it all that training needs, which instances do without

    bundle = Bundle(settings.bundle)
    if settings.k not in (None, bundle.k):
        raise ConfigError([f"k={settings.k}: the bundle in {settings.bundle} has k={bundle.k}"])
    path = bundle.folder.parent / "config.yaml"
    if not path.is_file():
        raise DataError(f"there is no {path}, which says what the deployed model of the bundle is")
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    if settings.deployed is not None:
        cfg.deployed.path = settings.deployed
    task = assemble.build(cfg.task)
    splits = None if cfg.deployed.path else task.splits()  # data names the deployed model that was trained on it
    deployed = assemble.deployed_model(cfg, task, splits, None)  # type: ignore[arg-type]
    expected = bundle.about["deployed"]["fingerprint"]
    if deployed.fingerprint != expected:
        raise DeployedModelError(
            f"the bundle in {settings.bundle} was trained for the deployed model {expected[:16]}…, and this one is "
            f"{deployed.fingerprint[:16]}…; deployed=… names the file of the right one"
        )
    return Served(bundle, deployed, settings.coded)


def pools(settings: ServeSettings, served: Served) -> list[int]:
    """Return how many instances each pool has: m, and m/k (rounded up) for each parity model unless settings say."""
    parity = settings.parity_replicas or -(-settings.replicas // served.bundle.k)
    return [settings.replicas, *[parity] * (len(served.models) - 1)]
