"""Draw the picture in the README: one coding group of two digits, one prediction lost and rebuilt.

python experiments/picture_of_a_group.py experiments/a_coding_group.png
"""

import sys
import tempfile
from pathlib import Path

import torch

import parmtrain
from parmtrain import plots
from parmtrain.assemble import build


def draw(path: Path) -> None:
    cfg = parmtrain.compose("task=digits", "code=sum", "k=2")
    with tempfile.TemporaryDirectory() as folder:
        result = parmtrain.run(cfg, folder)
    task, module = build(cfg.task), result.module.cpu()
    images, _ = task.splits().test[torch.tensor([0, 5])]
    queries = task.input(images)[None]
    with torch.no_grad():
        predictions = module.deployed(queries[0])[None]
        parity_queries = module.encode(queries)
        outputs = torch.cat([predictions, module.predict(parity_queries)], dim=1)
        rebuilt = module.decode(outputs, torch.tensor([[False, True, True]]))
    figure = plots.coding_group(
        queries[0], parity_queries[0, 0], predictions[0, 0], rebuilt[0, 0], task.classes, lost=0
    )
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
