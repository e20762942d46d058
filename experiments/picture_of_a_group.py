"""Draw coding groups of a finished run from its bundle alone: the picture in the README.

    python -m parmtrain hydra.run.dir=runs/digits
    python experiments/picture_of_a_group.py runs/digits experiments/a_coding_group.png

Random test queries of the task are grouped and coded; each row of the picture loses one prediction. A third argument is
the number of groups.
"""

import sys
from pathlib import Path

import torch

from parmtrain.drawing import save
from parmtrain.reopened import reopen
from parmtrain.report import pictures
from parmtrain.training.groups import GroupBatch, prepare_batch


def draw(folder: str, path: Path, groups: int = 1) -> None:
    work, bundle = reopen(folder)
    test, count = work.splits.test, groups * bundle.k
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(1))[:count].view(groups, bundle.k)
    batch = prepare_batch(GroupBatch(*test[chosen], None), work.task.input)
    save(pictures.coding_groups(pictures.decoded_groups(bundle, work.deployed, batch), work.task), path)


if __name__ == "__main__":
    folder, path, *groups = sys.argv[1:]
    draw(folder, Path(path), *map(int, groups))
