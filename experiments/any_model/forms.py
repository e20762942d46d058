"""Write a deployed model as others would hand it over: TorchScript, torch.export's .pt2 and ONNX.

    pip install -e '.[onnx]' onnxscript
    python experiments/any_model/forms.py WEIGHTS OUT

WEIGHTS is a state dict of parmtrain's own three convolutions for 1×28×28 pictures (``model=conv_net``), such as a run
writes to its folder (``deployed.pt``). OUT is a folder; it gets f.ts, f.pt2 and f.onnx.
"""

import sys
from pathlib import Path

import torch

from parmtrain.models import ConvNet

WIDTHS = [16, 32, 64]

if __name__ == "__main__":
    weights, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    network = ConvNet([1, 28, 28], 10, widths=WIDTHS)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    example, dynamic = torch.rand(2, 1, 28, 28), ({0: torch.export.Dim.DYNAMIC},)
    torch.jit.trace(network, example).save(out / "f.ts")
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), out / "f.pt2")
    torch.onnx.export(network, (example,), out / "f.onnx", dynamo=True, dynamic_shapes=dynamic, verbose=False)
