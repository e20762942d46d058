"""A runtime of MLServer for a model of a bundle: it needs PyTorch and nothing of parmtrain.

Put this file and ``model-settings.json`` into a folder, and the model (``export/deployed.ts`` or
``export/parity_model.ts``) beside them as ``model.ts``; then ``mlserver start FOLDER``.
"""

import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class BundleModel(MLModel):
    """Runs ``model.ts``."""

    async def load(self) -> bool:
        torch.set_num_threads(1)
        self._network = torch.jit.load(self.settings.parameters.uri).eval()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        queries = NumpyCodec.decode_input(given).astype("float32")
        with torch.inference_mode():
            outputs = self._network(torch.from_numpy(queries).reshape(given.shape)).numpy()
        encoded = NumpyCodec.encode_output("prediction", outputs)
        return InferenceResponse(model_name=self.name, outputs=[encoded])
