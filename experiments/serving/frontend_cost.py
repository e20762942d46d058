"""What the frontend itself costs for each query: group logic, encoding, checking outputs, decoding, its event loop.

    python experiments/serving/frontend_cost.py

CIFAR-size queries (3×32×32), 10 classes, k = 2, one thread, codes as exported (TorchScript); instances answer at once,
but for every fourth prediction, which never comes and is decoded. Processor time of the whole process ÷ queries.
"""

import asyncio
import time
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from parmtrain.bundle.torchscript import to_torchscript
from parmtrain.codes import Code, Concat, Corrected, Heads, Sum
from parmtrain.serving import Frontend, Limits, scheme_of
from parmtrain.serving.service.driver import Service

SHAPE, CLASSES, QUERIES, ROUNDS = (3, 32, 32), 10, 4000, 5


class Instance:
    """Answers at once, or never where ``every`` divides the number of the call."""

    def __init__(self, width: int, every: int = 0) -> None:
        self.output, self.every, self.calls = torch.zeros(1, width), every, 0

    async def run(self, queries: Tensor) -> Tensor:
        self.calls += 1
        if self.every and self.calls % self.every == 0:
            await asyncio.sleep(3600)
        return self.output

    async def restart(self) -> None:
        """Nothing to restart."""


def exported(code: Code) -> Code:
    """Return a code with its two halves as TorchScript."""
    late = torch.tensor([[False] + [True] * (code.n - 1)])
    code.encoder = to_torchscript(code.encoder, (torch.rand(1, code.k, *SHAPE),))
    code.decoder = to_torchscript(code.eval().decoder, (torch.rand(1, code.n, code.heads * CLASSES), late))
    return code


async def cost(code: Code) -> float:
    """Return microseconds of processor time for each query."""
    width = code.heads * CLASSES
    scheme = scheme_of(code, 1, width)
    own = [Instance(CLASSES, every=2), *[Instance(CLASSES) for _ in range(QUERIES)]]
    frontend = Frontend(scheme, [len(own), 4], Limits(deadline=3600.0, waiting=QUERIES + 1))
    service = Service(frontend, code, [*own, *[Instance(width) for _ in range(4)]], CLASSES, width)
    queries = torch.rand(QUERIES, *SHAPE)

    async def four(start: int) -> None:
        await asyncio.gather(*(service.predict(query) for query in queries[start : start + 4]))

    for start in range(0, 400, 4):
        await four(start)
    begun = time.process_time()
    for start in range(400, QUERIES, 4):
        await four(start)
    taken = (time.process_time() - begun) / (QUERIES - 400) * 1e6
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    return taken


def main() -> None:
    torch.set_num_threads(1)
    table = Table("code", "µs a query, median", "least", "greatest")
    with torch.inference_mode():
        for code in map(exported, (Sum(2), Heads(Concat(2)), Corrected(Sum(2), CLASSES))):
            figures = [asyncio.run(cost(code)) for _ in range(ROUNDS)]
            table.add_row(code.name, *(f"{value:.0f}" for value in (median(figures), min(figures), max(figures))))
    Console(width=80).print(table)


if __name__ == "__main__":
    main()
