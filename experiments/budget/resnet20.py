"""ResNet-20 for CIFAR-10, as its authors and most published weights have it, and four epochs of fine-tuning.

    python experiments/budget/resnet20.py WEIGHTS OUT data.root=DATA

WEIGHTS is a state dict of others, such as resnet20-12fca82f.th of akamaster/pytorch_resnet_cifar10 (BSD-2-Clause). OUT
is written: the deployed model of the study on CIFAR-10 (README.md).
"""

import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad, relu
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from parmtrain import compose
from parmtrain.config import assemble
from parmtrain.files import replacing
from parmtrain.prepared import Prepared
from parmtrain.state_dicts import load_weights, read_state_dict
from parmtrain.training.deployed import Recipe, train_deployed
from parmtrain.training.fit import quiet

EPOCHS, BATCH = 4, 128
INPUT = ("task.input.mean=[0.485,0.456,0.406]", "task.input.std=[0.229,0.224,0.225]")


class Block(nn.Module):
    """Two convolutions and a shortcut, which takes every second pixel and adds channels of zeros where they differ."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride, self.more = 1 if before == after else 2, after - before
        self.conv1 = nn.Conv2d(before, after, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, images: Tensor) -> Tensor:
        """Map features ``[b, c, h, w]`` to those of the next block."""
        short = images[:, :, :: self.stride, :: self.stride]
        if self.more:
            short = pad(short, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(images))))) + short)


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels.

    Args:
        query_shape: ``[c, h, w]``.
        outputs: Length of one prediction.
        grid: Rows and columns of the grid that the last stage is pooled to.
        width: Factor of all numbers of channels.

    Source: He et al., Deep Residual Learning (arXiv 1512.03385), section 4.2.
    """

    def __init__(self, query_shape: Sequence[int], outputs: int, grid: int = 1, width: float = 1.0) -> None:
        super().__init__()
        first, *others = (max(1, round(width * channels)) for channels in (16, 16, 32, 64))
        self.conv1 = nn.Conv2d(query_shape[0], first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        for number, (before, after) in enumerate(pairwise((first, *others)), 1):
            blocks = Block(before, after), Block(after, after), Block(after, after)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.grid, self.linear = grid, nn.Linear(others[-1] * grid * grid, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[b, c, h, w]`` to predictions ``[b, outputs]``."""
        features = relu(self.bn1(self.conv1(images)))
        for stage in (self.layer1, self.layer2, self.layer3):
            features = stage(features)
        predictions: Tensor = self.linear(adaptive_avg_pool2d(features, self.grid).flatten(1))
        return predictions


def main(arguments: Sequence[str]) -> None:
    """Fine-tune published weights on the images at hand."""
    theirs, out, *overrides = arguments
    quiet()
    work = Prepared(compose("task=cifar10", *INPUT, *overrides))
    state = read_state_dict(Path(theirs))
    recipe = Recipe(
        network=lambda: load_weights(ResNet20([3, 32, 32], 10), state, theirs),
        optim=partial(SGD, lr=0.02, momentum=0.9, weight_decay=1e-4),
        schedule=partial(OneCycleLR, max_lr=0.02),
        trainer=partial(pl.Trainer, logger=False, devices=1, accelerator="cpu", enable_model_summary=False),
        epochs=EPOCHS,
        batch=BATCH,
        seed=0,
        identity={"weights": Path(theirs).name, "epochs": EPOCHS, "lr": 0.02},
    )
    network = train_deployed(work.task, work.splits, recipe, assemble.cache_folder(work.cfg))
    with replacing(Path(out)) as temporary:
        torch.save(network.state_dict(), temporary)


if __name__ == "__main__":
    main(sys.argv[1:])
