"""Initial weights of parity models: the deployed model's weights, and output biases set to the average target."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from parmtrain.codes import Code
from parmtrain.deployed import DeployedModel
from parmtrain.programs import weights


def start_from(model: nn.Module, deployed: DeployedModel) -> list[str]:
    """Copy the deployed model's weights into ``model`` where names and shapes match, and return those names.

    Example:
        >>> start_from(nn.Linear(4, 2), DeployedModel(nn.Linear(4, 2))), start_from(nn.Linear(8, 2), DeployedModel(abs))
        (['weight', 'bias'], [])
    """
    theirs = weights(deployed.network)
    ours = model.state_dict()
    matching = {name: theirs[name] for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    model.load_state_dict({**ours, **matching})
    return list(matching)


def init_output_bias(model: nn.Module, output: Tensor) -> None:
    """Set the bias of a model's last linear layer to ``output`` ``[c]``, if the shapes match.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> init_output_bias(model, torch.tensor([1.0, 2.0]))
        >>> model[2].bias.data
        tensor([1., 2.])
    """
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    for layer in last:
        if layer.bias is not None and layer.bias.shape == output.shape:
            layer.bias.data.copy_(output)


def init_output_biases(models: Iterable[nn.Module], code: Code, prior: Tensor) -> None:
    """Set each parity model's output bias to its target for a prior prediction: k times the prior for the sum code.

    Args:
        models: One for each coded query, in order; deployed models among them are not changed.
        code: The code.
        prior: Average prediction ``[c]``. Nothing is set for a code without a target.
    """
    if type(code).target is Code.target:
        return
    for j, model in enumerate(models):
        if not isinstance(model, DeployedModel):
            init_output_bias(model, code.target(prior.expand(1, code.k, -1))[0, j])


def shared_tensors(models: Iterable[nn.Module], deployed: DeployedModel) -> tuple[int, int]:
    """Return how many tensors of the parity models equal one of the deployed model's, and how many there are."""
    theirs = weights(deployed.network).values()
    ours = [parameter for model in models for parameter in model.parameters()]
    return sum(any(torch.equal(value, other) for other in theirs) for value in ours), len(ours)
