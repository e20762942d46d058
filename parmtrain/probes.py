"""Ask a network a few fixed queries: whether it fits, always answers alike, and is the one that it should be."""

from typing import Any

import torch
from torch import Tensor

from parmtrain.deployed import DeployedModel, fingerprint
from parmtrain.errors import DeployedModelError, reason_of
from parmtrain.programs import Network, weights

PEERS = 0.05  # the same in different batches: dynamic quantization depends on a batch a little
ALIKE = 1e-3  # difference of two answers to one query ÷ the largest number in them
FAINT, BRIGHT = 100, 3  # how much weaker and stronger queries are beside which one is asked


def check_predictions(network: Network, query_shape: tuple[int, ...], outputs: int, name: str) -> None:
    """Raise a ``DeployedModelError`` unless a network maps queries ``[b, *query]`` to finite predictions, always alike.

    Args:
        network: F, or a parity model in evaluation mode.
        query_shape: Shape of one query.
        outputs: Length of one prediction.
        name: Name of the network in error messages.
    """
    firsts, every = list[Tensor](), probes(query_shape)
    for batch in (2, 3):
        queries = every[:batch]
        predictions = _predictions(network, queries, name)
        if not isinstance(predictions, Tensor) or predictions.shape != (batch, outputs):
            shaped = isinstance(predictions, Tensor)
            given = f"shape {list(predictions.shape)}" if shaped else f"a {type(predictions).__name__}"
            raise DeployedModelError(f"{name} returns {given} for {batch} queries; expected {[batch, outputs]}")
        if not predictions.is_floating_point():
            given = str(predictions.dtype).removeprefix("torch.")
            raise DeployedModelError(f"{name} must return numbers of a floating-point type, got {given}")
        if not predictions.isfinite().all():
            raise DeployedModelError(f"{name} must return finite values for random queries, got NaN or infinity")
        require_same(predictions, _predictions(network, queries, name), name)
        require_alone(predictions.flip(0), _predictions(network, queries.flip(0), name), name)
        firsts.append(predictions[:1])
    bright = torch.stack([every[0], BRIGHT * every[2]])
    firsts.append(_predictions(network, bright, name)[:1])
    for other in firsts[1:]:
        require_alone(firsts[0], other, name)
    if isinstance(network, DeployedModel) and fingerprint(network.network) != network.fingerprint:
        raise DeployedModelError(
            f"{name} must not change its own weights or buffers when it answers; export it in evaluation mode"
        )


def probes(query_shape: tuple[int, ...]) -> Tensor:
    """Return three fixed random queries to ask a network ``[3, *query]``; the second is ``FAINT`` times as faint.

    A network that goes by the statistics of a batch answers the first otherwise beside the second alone.
    """
    queries = torch.rand(3, *query_shape, generator=torch.Generator().manual_seed(0))
    queries[1] /= FAINT
    return queries


def answers(network: Network, query_shape: tuple[int, ...]) -> list[list[float]]:
    """Return a network's predictions on the fixed queries, which identify one without weights."""
    queries = probes(query_shape).to(getattr(network, "device", "cpu"))
    with torch.no_grad():
        predictions: list[list[float]] = network(queries).float().tolist()
    return predictions


def require_answers(network: Network, query_shape: tuple[int, ...], wanted: list[list[float]], name: str) -> None:
    """Raise a ``DeployedModelError`` unless a network gives the predictions on the fixed queries that are known.

    Args:
        network: The network.
        query_shape: Shape of one query.
        wanted: The predictions, as ``answers`` returned them.
        name: Name of the network in the error message.
    """
    given = torch.tensor(answers(network, query_shape))
    if given.shape != torch.tensor(wanted).shape or not _alike(given, torch.tensor(wanted), ALIKE):
        raise DeployedModelError(
            f"{name} must give the answers to fixed queries that were given in training, got others"
        )


def require_same(first: Tensor, second: Tensor, name: str) -> None:
    """Raise a ``DeployedModelError`` unless two answers of a network to the same queries are alike.

    Args:
        first: Predictions ``[b, c]``.
        second: Predictions on the same queries ``[b, c]``.
        name: Name of the network in the error message.
    """
    if not _alike(first, second, ALIKE):
        raise DeployedModelError(
            f"{name} must answer the same query alike, got other predictions the second time; trace it in evaluation "
            "mode, without dropout or other random numbers"
        )


def require_alone(first: Tensor, second: Tensor, name: str) -> None:
    """Raise a ``DeployedModelError`` unless a network answers a query alike in two batches.

    Args:
        first: Predictions in one batch ``[b, c]``.
        second: Predictions on the same queries in another ``[b, c]``.
        name: Name of the network in the error message.
    """
    if not _alike(first, second, PEERS):
        raise DeployedModelError(
            f"{name} must answer each query by itself, but its answer depends on the other queries in the batch, or on "
            "their order"
        )


def _alike(first: Tensor, second: Tensor, share: float) -> bool:
    """Return whether predictions ``[b, c]`` differ by no more than a share of the largest number in them."""
    most = share * first.abs().max().item() if first.numel() else 0.0
    return torch.allclose(first.float(), second.float(), rtol=share, atol=most, equal_nan=True)


@torch.no_grad()
def _predictions(network: Network, queries: Tensor, name: str) -> Any:
    given = queries.clone()
    try:
        predictions = network(given)
        if not torch.equal(given, queries):
            raise DeployedModelError(f"{name} must not change its input, which others use too; let it work on a copy")
        return predictions
    except DeployedModelError:
        raise
    except Exception as fault:  # a network can raise anything
        inner = network.network if isinstance(network, DeployedModel) else network
        others = {str(one.dtype).removeprefix("torch.") for one in weights(inner).values() if one.is_floating_point()}
        if others and others != {"float32"}:
            held = ", ".join(sorted(others))
            raise DeployedModelError(
                f"{name} must be given queries in the type of its weights, {held}: set deployed.takes={held}, or "
                "convert it with .float()"
            ) from fault
        raise DeployedModelError(
            f"{name} must accept a batch of {len(queries)} queries of shape {list(queries.shape[1:])}, but raised: "
            f"{reason_of(fault)}; set task.query_shape=… and task.input.flatten=… to what it expects; an exported "
            "program needs a dynamic batch dimension"
        ) from fault
