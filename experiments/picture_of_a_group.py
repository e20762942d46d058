"""Draw coding groups of a finished run from its bundle alone: the picture in the README.

    python -m parmtrain hydra.run.dir=runs/digits
    python experiments/picture_of_a_group.py runs/digits experiments/a_coding_group.png

Random test queries of the task are grouped and coded; each row of the picture loses one prediction. A third argument is
the number of groups.
"""

import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

from parmtrain import load
from parmtrain.config import assemble
from parmtrain.report import pictures
from parmtrain.report.plots import save
from parmtrain.training.groups import GroupBatch


def draw(folder: str, path: Path, groups: int = 1) -> None:
    cfg = OmegaConf.load(Path(folder) / "config.yaml")
    task = assemble.build(cfg.task)
    splits = task.splits()
    deployed = assemble.deployed_model(cfg, task, splits)
    bundle = load(folder, deployed)
    chosen = torch.randperm(len(splits.test), generator=torch.Generator().manual_seed(1))[: groups * bundle.k]
    stored, labels = splits.test[chosen]
    queries = task.input(stored)
    parts = (part.unflatten(0, (groups, bundle.k)) for part in (queries, labels, deployed(queries)))
    save(pictures.coding_groups(pictures.decoded_groups(bundle, GroupBatch(*parts)), task), path)


if __name__ == "__main__":
    folder, path, *groups = sys.argv[1:]
    draw(folder, Path(path), *map(int, groups))
