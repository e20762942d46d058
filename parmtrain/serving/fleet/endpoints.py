"""A fleet that exists already: which servers run which model, as a file names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from parmtrain.errors import ConfigError, reason_of
from parmtrain.serving.protocol.grpc_host import require_grpc

MODELS = "/v2/models/"
PLAIN, SECURE = "grpc", "grpcs"


@dataclass(frozen=True)
class Endpoint:
    """A model of a server that speaks the Open Inference Protocol over HTTP or gRPC.

    Args:
        server: Address of the server, ``http://host:port`` or ``grpc://host:port``; ``https`` and ``grpcs`` for TLS.
        model: Name of the model.
    """

    server: str
    model: str

    def __str__(self) -> str:
        return f"{self.server}{MODELS}{self.model}"

    @property
    def over_grpc(self) -> bool:
        """Whether the server is reached over gRPC.

        Example:
            >>> Endpoint("grpc://a:9001", "deployed").over_grpc, Endpoint("http://a:9000", "deployed").over_grpc
            (True, False)
        """
        return self.server.partition("://")[0] in (PLAIN, SECURE)


def pool_names(count: int) -> list[str]:
    """Return what the pools of a fleet are called: that of the deployed model, and those of parity models.

    Example:
        >>> pool_names(3)
        ['deployed', 'parity', 'parity_2']
    """
    return ["deployed", "parity", *(f"parity_{number}" for number in range(2, count))][:count]


def read_fleet(path: str | Path, pools: Sequence[str]) -> list[tuple[int, Endpoint]]:
    r"""Read a YAML file of servers.

    It has one list for each pool. An entry is the address of a server, whose model is then called as the pool is, or of
    a model, ``http://host:port/v2/models/NAME``; likewise over gRPC, ``grpc://host:port`` and
    ``grpc://host:port/v2/models/NAME``. ``https`` and ``grpcs`` mean TLS, with the authorities that the system trusts.
    An entry that is listed twice is two instances.

    Args:
        path: The file.
        pools: Names of the pools, in order.

    Returns:
        The pool of each endpoint, and the endpoint.

    Raises:
        ConfigError: If the file is none, a pool has no entry, or gRPC is needed and not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "fleet.yaml"
        >>> _ = path.write_text("deployed: [http://a:9000, http://b:9000/v2/models/resnet]\nparity: [grpc://c:9001]\n")
        >>> [(pool, str(endpoint)) for pool, endpoint in read_fleet(path, pool_names(2))][1:]
        [(0, 'http://b:9000/v2/models/resnet'), (1, 'grpc://c:9001/v2/models/parity')]
    """
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as fault:
        raise ConfigError([f"fleet={path} must be a YAML file of servers, but: {reason_of(fault)}"]) from fault
    if not isinstance(content, dict):
        raise ConfigError([f"fleet={path} must have a list of servers for each of {', '.join(pools)}"])
    faults = [
        f"fleet={path} has no pool {name!s}; its pools must be {', '.join(pools)}" for name in content.keys() - pools
    ]
    found = []
    for pool, name in enumerate(pools):
        entries = content.get(name)
        if not isinstance(entries, list) or not entries:
            faults.append(f"fleet={path} must have a list of servers for {name}, got {entries or 'none'}")
            continue
        for entry in entries:
            endpoint = _endpoint(entry, name)
            if endpoint is None:
                faults.append(
                    f"fleet={path}: {name} must list addresses such as http://host:9000 or grpc://host:9001, got "
                    f"{entry}"
                )
            else:
                found.append((pool, endpoint))
    if faults:
        raise ConfigError(faults)
    for _, endpoint in found:
        if endpoint.over_grpc:
            require_grpc(f"fleet={path}: {endpoint.server}")
    return found


def _endpoint(entry: Any, model: str) -> Endpoint | None:
    """Return the endpoint that an entry names; None if it names none."""
    if not isinstance(entry, str):
        return None
    try:
        parts = urlsplit(entry)
        valid = parts.scheme in ("http", "https", PLAIN, SECURE) and bool(parts.hostname) and parts.port != 0
        if parts.scheme in (PLAIN, SECURE) and (parts.port is None or "@" in parts.netloc):
            return None  # gRPC has no port of its own
    except ValueError:
        return None
    path = parts.path.rstrip("/")
    if path.startswith(MODELS) and "/" not in path[len(MODELS) :] and path != MODELS:
        model = path[len(MODELS) :]
    elif path:
        return None
    return Endpoint(f"{parts.scheme}://{parts.netloc}", model) if valid and not parts.query else None
