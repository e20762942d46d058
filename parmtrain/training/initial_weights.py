"""Initial weights of parity models: the deployed model's weights, and output biases set to the average target."""

from collections.abc import Iterable
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from parmtrain.codes import Code
from parmtrain.deployed import DeployedModel
from parmtrain.programs import weights
from parmtrain.state_dicts import prefixes


def start_from(model: nn.Module, deployed: DeployedModel) -> list[str]:
    """Copy the deployed model's weights into ``model`` where names and shapes match, and return those names.

    One of the two may have a prefix before its names, such as ``net.`` of a module around the network.

    The position embeddings of a vision transformer ``[1, n, d]`` also match those of another square grid of patches, to
    which they are interpolated.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words (arXiv 2010.11929), section 3.2.

    Example:
        >>> start_from(nn.Linear(4, 2), DeployedModel(nn.Linear(4, 2))), start_from(nn.Linear(8, 2), DeployedModel(abs))
        (['weight', 'bias'], [])
        >>> start_from(nn.Linear(4, 2), DeployedModel(nn.Sequential(nn.Linear(4, 2))))
        ['weight', 'bias']
    """
    ours = model.state_dict()
    theirs = _without_prefix(weights(deployed.network), ours)
    fitted = {name: _fitted(name, theirs[name], ours[name].shape) for name in ours if name in theirs}
    matching = {name: tensor for name, tensor in fitted.items() if tensor is not None}
    model.load_state_dict({**ours, **matching})
    return list(matching)


def _without_prefix(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the deployed model's weights under the names of ours, as far as only a prefix differs."""
    if before := prefixes(theirs, ours)[:1]:
        return {name.removeprefix(before[0]): value for name, value in theirs.items() if name.startswith(before[0])}
    added = (prefixes(ours, theirs) or [""])[0]
    return {added + name: value for name, value in theirs.items()}


def _fitted(name: str, tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """Return a tensor of this shape: the one given, or position embeddings of another grid; None for any other."""
    if tensor.shape == shape:
        return tensor
    flat = tensor.dim() == 3 and len(shape) == 3 and (tensor.size(0), shape[0], tensor.size(2)) == (1, 1, shape[2])
    if not flat or "pos" not in name:
        return None
    for classes in (0, 1):  # tokens before those of patches
        before, after = (isqrt(max(0, tokens - classes)) for tokens in (tensor.size(1), shape[1]))
        if before and after and (before**2, after**2) == (tensor.size(1) - classes, shape[1] - classes):
            grid = tensor[:, classes:].transpose(1, 2).unflatten(2, (before, before))
            resized = interpolate(grid, (after, after), mode="bicubic", antialias=True)
            return torch.cat([tensor[:, :classes], resized.flatten(2).transpose(1, 2)], dim=1)
    return None


def init_output_bias(model: nn.Module, output: Tensor) -> None:
    """Set the bias of a model's last linear layer to ``output`` ``[c]``, if the shapes match.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> init_output_bias(model, torch.tensor([1.0, 2.0]))
        >>> model[2].bias.data
        tensor([1., 2.])
    """
    bias = _output_bias(model)
    if bias is not None and bias.shape == output.shape:
        bias.data.copy_(output)


def init_output_biases(models: Iterable[nn.Module], code: Code, prior: Tensor, deployed: DeployedModel) -> None:
    """Set each parity model's output bias to its target for a prior prediction: k times the prior for the sum code.

    A bias that already is the target for the deployed model's own one, from which it started, stays.

    Args:
        models: One for each coded query, in order; deployed models among them are not changed.
        code: The code.
        prior: Average prediction ``[c]``. Nothing is set for a code without a target.
        deployed: The deployed model.
    """
    if type(code).target is Code.target:
        return
    theirs = _output_bias(deployed.network) if isinstance(deployed.network, nn.Module) else None
    known = None if theirs is None or theirs.shape != prior.shape else _targets(code, theirs)
    for j, (model, target) in enumerate(zip(models, _targets(code, prior), strict=False)):
        ours = None if isinstance(model, DeployedModel) else _output_bias(model)
        if ours is not None and not (known is not None and torch.equal(ours, known[j])):
            init_output_bias(model, target)


def _output_bias(model: nn.Module) -> Tensor | None:
    """Return the bias of a model's last linear layer, if it has one."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    return last[0].bias if last else None


def _targets(code: Code, prediction: Tensor) -> Tensor:
    """Return the targets of the coded queries for groups of one prediction ``[c]``: ``[coded, w]``."""
    return code.target(prediction.expand(1, code.k, -1))[0]


def shared_tensors(models: Iterable[nn.Module], deployed: DeployedModel) -> tuple[int, int]:
    """Return how many tensors of the parity models equal one of the deployed model's, and how many there are."""
    theirs = weights(deployed.network).values()
    ours = [parameter for model in models for parameter in model.parameters()]
    return sum(any(torch.equal(value, other) for other in theirs) for value in ours), len(ours)
