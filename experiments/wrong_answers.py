"""Workers that answer wrongly, under Berrut's Byzantine code: are they found, and what is left of the accuracy?

    python experiments/wrong_answers.py task=fashion_mnist data.root=… deployed.path=…

For each k, E workers of every group answer with the prediction of another query (a swap), with a prediction multiplied
by ten, or with noise ten times as large as predictions; another worker is late. Overrides are those of
``python -m parmtrain``.
"""

import sys

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from parmtrain import compose
from parmtrain.codes import Berrut, BerrutByzantine
from parmtrain.codes.byzantine import LocatingDecoder
from parmtrain.metrics.functional import correct
from parmtrain.prepared import Prepared
from parmtrain.training.fit import quiet

GROUPS = 500


def spoil(outputs: Tensor, wrong: Tensor, how: str, generator: torch.Generator) -> Tensor:
    """Replace the outputs of the workers ``wrong`` [g, n] (bool) in ``outputs`` [g, n, c]."""
    if how == "swap":
        other = outputs.roll(1, dims=0)
    elif how == "times ten":
        other = outputs * 10
    else:
        other = torch.randn(outputs.shape, generator=generator) * outputs.std() * 10
    return torch.where(wrong.unsqueeze(2), other, outputs)


@torch.no_grad()
def show(overrides: list[str]) -> None:
    quiet()
    cfg = compose(*overrides)
    work = Prepared(cfg)
    test, deployed = work.splits.test, work.deployed
    table = Table("k", "E", "workers", "wrong answers", "all found", "accuracy, located", "known", "not located")
    generator = torch.Generator().manual_seed(cfg.seed)
    cases = [(k, errors, how) for k in (2, 4) for errors in (1, 2) for how in ("swap", "times ten", "noise")]
    for k, errors, how in track(cases, transient=True):
        code = BerrutByzantine(k, errors=errors)
        chosen = torch.randperm(len(test), generator=generator)[: GROUPS * k].view(GROUPS, k)
        stored, labels = test[chosen]
        queries = work.task.input(stored.flatten(0, 1)).unflatten(0, (GROUPS, k))
        outputs = deployed(code.encode(queries).flatten(0, 1)).unflatten(0, (GROUPS, code.n))
        places = torch.rand(GROUPS, code.n, generator=generator).argsort(dim=1)
        wrong, arrived = (places < errors), places != errors
        spoilt = spoil(outputs, wrong, how, generator)
        plain = Berrut(k, code.r)
        assert isinstance(code.decoder, LocatingDecoder)
        right = code.decoder.locator(spoilt, arrived)
        decoded = (
            code.decode(spoilt, arrived),
            plain.decode(spoilt, arrived & ~wrong),
            plain.decode(spoilt, arrived),
        )
        found = (~(right & wrong).any(dim=1)).float().mean()
        accuracies = [f"{correct(each, labels).mean():.4f}" for each in decoded]
        table.add_row(str(k), str(errors), str(code.n), how, f"{found:.1%}", *accuracies)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    show(sys.argv[1:])
