"""What a server of the Open Inference Protocol offers, apart from how it is reached."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from starlette.datastructures import Headers

from parmtrain import __version__
from parmtrain.serving.protocol.open_inference import Message
from parmtrain.serving.protocol.requests import MOST_QUERIES, Refused

VERSION = "1"  # of the only version of a model
FINGERPRINT = "fingerprint"  # property of a model in its metadata
QUERY, PREDICTION = "query", "prediction"
TENANT = "x-tenant"  # header or gRPC metadata that names whose queries these are
LONGEST_NAME = 256


@dataclass(frozen=True)
class Answered:
    """The answers to the queries of one request.

    Args:
        predictions: Predictions ``[b, c]``.
        parameters: What the response says of them.
    """

    predictions: np.ndarray
    parameters: dict[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """A model behind a server.

    Attributes:
        name: Its name.
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        fingerprint: What tells it from every other model; empty if nothing does.
    """

    name: str
    query_shape: tuple[int, ...]
    outputs: int
    fingerprint: str

    @property
    def ready(self) -> bool:
        """Whether it can answer queries now."""

    async def infer(self, queries: np.ndarray, parameters: Any, headers: Mapping[str, Any]) -> Answered:
        """Answer queries ``[b, *query]``, finite float32 numbers.

        Args:
            queries: The queries.
            parameters: What the request says of them.
            headers: What came with the request: HTTP's headers or gRPC's metadata.
        """


class DataPlane:
    """Answer the calls of the protocol for some models.

    Args:
        models: The models, which have different names.
    """

    def __init__(self, *models: Model) -> None:
        self.models = {model.name: model for model in models}

    @property
    def ready(self) -> bool:
        """Whether every model can answer queries now."""
        return all(model.ready for model in self.models.values())

    @property
    def server(self) -> dict[str, Any]:
        """Metadata of the server."""
        return {"name": "parmtrain", "version": __version__, "extensions": ["binary_tensor_data"]}

    def metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Return the metadata of a model.

        Raises:
            Refused: If there is no such model.
        """
        model = self.model(name, version)
        about = {"properties": {FINGERPRINT: model.fingerprint}} if model.fingerprint else {}
        return about | {
            "name": model.name,
            "versions": [VERSION],
            "platform": "parmtrain",
            "inputs": [{"name": QUERY, "datatype": "FP32", "shape": [-1, *model.query_shape]}],
            "outputs": [{"name": PREDICTION, "datatype": "FP32", "shape": [-1, model.outputs]}],
        }

    def model(self, name: str, version: str | None = None) -> Model:
        """Return a model.

        Raises:
            Refused: If none of this name and version is served.
        """
        found = self.models.get(name)
        if found is None or version not in (None, "", VERSION):
            wanted = f"{name}, version {version}" if version else name
            raise Refused(404, f"the model must be {_listed(self.models)}, version {VERSION}, got {wanted}")
        return found

    async def infer(self, model: Model, request: Message, headers: Mapping[str, Any]) -> Answered:
        """Answer the queries of a request.

        Args:
            model: The model.
            request: The request.
            headers: What came with it: HTTP's headers or gRPC's metadata.

        Raises:
            Refused: If it holds no valid queries.
        """
        return await model.infer(_queries(model, request), request.parameters, headers)


def tenant_of(headers: Mapping[str, Any]) -> str:
    """Return whose queries a request holds, as its headers or its gRPC metadata say; empty if they do not.

    Raises:
        Refused: If the name is too long, or there are several.
    """
    named = headers.getlist(TENANT) if isinstance(headers, Headers) else [str(headers.get(TENANT, ""))]
    if len(named) > 1 or len(named[0] if named else "") > LONGEST_NAME:
        raise Refused(400, f"{TENANT} must be one name of {LONGEST_NAME} characters or fewer")
    return named[0] if named else ""


def _queries(model: Model, request: Message) -> np.ndarray:
    """Return the queries of a request ``[b, *query]`` as float32."""
    if list(request.tensors) != [QUERY]:
        raise Refused(400, f"the request must have one input, {QUERY}, got {_listed(request.tensors)}")
    if request.asked is not None and list(request.asked) != [PREDICTION]:
        raise Refused(400, f"the request must ask for one output, {PREDICTION}, got {_listed(request.asked)}")
    given, shape = request.tensors[QUERY], model.query_shape
    if given.ndim != len(shape) + 1 or given.shape[1:] != shape or not 1 <= len(given) <= MOST_QUERIES:
        raise Refused(
            422, f"{QUERY} must have shape [b, {', '.join(map(str, shape))}], b from 1 to {MOST_QUERIES}, got "
            f"{list(given.shape)}"
        )  # fmt: skip
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise Refused(422, f"{QUERY} must hold finite numbers, got NaN or infinity")
    return numbers


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
