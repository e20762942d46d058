"""Whether a partner's query can change a reconstruction: what a code says of it is so."""

import torch
from torch import nn

from parmtrain.deployed import DeployedModel
from parmtrain.training.parity_module import ParityModule
from tests.made_up_task import QUERY, cheap
from tests.test_codes import built, every_code, fresh

MIXING = {"sum", "concat", "stack", "concat_heads", "mux_heads", "late_mix", "sum_corrected", "linear", "mean_parity"}


@every_code
def test_a_code_that_isolates_queries_gives_the_same_whatever_its_partners_are(name: str) -> None:
    for code in built(name):
        deployed = DeployedModel(nn.Sequential(cheap(), nn.Sigmoid()))
        module = ParityModule(deployed, code, code.parity_models(QUERY, deployed, fresh)).eval()
        queries = torch.rand(3, code.k, *QUERY, generator=torch.Generator().manual_seed(0))
        others = queries.clone()
        others[:, 1:] += 3.0
        with torch.no_grad():
            rebuilt = []
            for given in (queries, others):
                own = deployed(given.flatten(0, 1)).unflatten(0, given.shape[:2])
                outputs = module.gather(own, module(given))
                arrived = torch.arange(code.n).ne(0).expand(3, -1)
                rebuilt.append(module.decode(outputs, arrived)[:, 0])
        same = torch.allclose(rebuilt[0], rebuilt[1], atol=1e-5, equal_nan=True)
        if code.independent:
            assert same
        elif name in MIXING:
            assert not same
