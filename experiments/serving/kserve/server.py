"""A server of KServe (``pip install kserve``) for a model of a bundle: it needs PyTorch and nothing of parmtrain.

    python experiments/serving/kserve/server.py export/deployed.ts HTTP_PORT GRPC_PORT

The model is called ``net``; its one input is ``query``, of shape 1×8×8, and its one output ``prediction``.
"""

import sys
from typing import Any

import torch
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class Net(Model):
    """Runs a TorchScript archive."""

    def __init__(self, path: str) -> None:
        super().__init__("net")
        torch.set_num_threads(1)
        self._network = torch.jit.load(path).eval()
        self.ready = True

    async def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "query", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]

    async def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "prediction", "datatype": "FP32", "shape": [-1, 10]}]

    async def predict(self, payload: InferRequest, *_: Any) -> InferResponse:
        queries = payload.inputs[0].as_numpy().astype("float32").reshape(payload.inputs[0].shape)
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(queries)).numpy()
        answer = InferOutput("prediction", list(outputs.shape), "FP32")
        answer.set_data_from_numpy(outputs, binary_data=False)
        return InferResponse(payload.id or generate_uuid(), "net", [answer], use_binary_outputs=False)


if __name__ == "__main__":
    path, http, grpc = sys.argv[1:]
    ModelServer(http_port=int(http), grpc_port=int(grpc)).start([Net(path)])
