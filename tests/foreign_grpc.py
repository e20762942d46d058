"""A server of the Open Inference Protocol over gRPC with names and types of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from parmtrain.serving.protocol.tensors import TYPES
from tests.servers import serving_over_grpc

Answers = Callable[[np.ndarray], np.ndarray]


class Foreign:
    """A server of a model ``net`` with names and a type of its own; its answers are raw or numbers in typed fields."""

    def __init__(self, answers: Answers, shape: tuple[int, ...], kind: str = "FP64", raw: bool = False) -> None:
        self.answers, self.shape, self.kind, self.raw = answers, [-1, *shape], kind, raw
        self.typed = f"{kind.lower()}_contents"
        self.left_alone: threading.Event | None = None  # makes it answer no call; set once one is given up

    @property
    def handlers(self) -> Any:
        import grpc

        from parmtrain.serving.protocol.grpc_messages import MESSAGE, PACKAGE, SERVICE

        calls = {
            "ServerReady": self.ready,
            "ModelReady": self.ready,
            "ModelMetadata": self.metadata,
            "ModelInfer": self.infer,
        }

        def handler(name: str) -> Any:
            async def handle(request: Any, context: Any) -> Any:
                return MESSAGE[f"{name}Response"](**await calls[name](request))

            return grpc.unary_unary_rpc_method_handler(
                handle, MESSAGE[f"{name}Request"].FromString, MESSAGE[f"{name}Response"].SerializeToString
            )

        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", {name: handler(name) for name in calls})

    async def ready(self, request: Any) -> dict[str, Any]:
        return {"ready": not request.DESCRIPTOR.fields or request.name == "net"}

    async def metadata(self, request: Any) -> dict[str, Any]:
        return {
            "name": "net",
            "inputs": [{"name": "pixels", "datatype": self.kind, "shape": self.shape}],
            "outputs": [{"name": "logits", "datatype": self.kind, "shape": [-1]}],
        }

    async def infer(self, request: Any) -> dict[str, Any]:
        if self.left_alone is not None:
            try:
                await asyncio.sleep(60)
            finally:
                self.left_alone.set()
        (given,), (wanted,), (content,) = request.inputs, request.outputs, request.raw_input_contents
        assert (request.model_name, given.name, given.datatype) == ("net", "pixels", self.kind)
        queries = np.frombuffer(content, TYPES[self.kind]).reshape(given.shape).astype(np.float32)
        numbers = self.answers(queries).astype(TYPES[self.kind])
        output = {"name": wanted.name, "datatype": self.kind, "shape": numbers.shape}
        if self.raw:
            return {"outputs": [output], "raw_output_contents": [numbers.tobytes()]}
        return {"outputs": [output | {"contents": {self.typed: numbers.ravel()}}]}


def flat(queries: np.ndarray) -> np.ndarray:
    return queries.reshape(len(queries), -1)


@contextmanager
def foreign(server: Foreign) -> Iterator[str]:
    with serving_over_grpc(server.handlers) as port:
        yield f"grpc://127.0.0.1:{port}/v2/models/net"
