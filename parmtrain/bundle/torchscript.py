"""TorchScript archives, which load without parmtrain, from Python and from C++."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from parmtrain.answers import Answer, part_of
from parmtrain.errors import ExportError, reason_of
from parmtrain.programs import read_torchscript, write_torchscript

SIZE = torch.ops.aten.sym_size.int


class TorchScript:
    """Write parts of a bundle as TorchScript archives.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "double.ts"
        >>> TorchScript().save(nn.Upsample(scale_factor=2), (torch.ones(1, 1, 2),), path)
        >>> TorchScript().load(path)(torch.ones(1, 1, 3)).shape
        torch.Size([1, 1, 6])
    """

    suffix = ".ts"

    def save(self, part: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
        """Compile a module, or trace it where its code cannot be compiled, and write it."""
        write_torchscript(to_torchscript(part, example), path)

    def load(self, path: Path) -> torch.jit.ScriptModule:
        """Load an archive. It is a program: load only what you would run."""
        return read_torchscript(path)


def to_torchscript(part: nn.Module, example: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    """Compile a module, or trace it with ``example`` where its code cannot be compiled.

    Args:
        part: Module in evaluation mode.
        example: Its inputs, batch first.

    Raises:
        ExportError: If it holds an exported graph that can only be traced, whose sizes a trace would fix.
    """
    part = copy.deepcopy(part) if any(isinstance(inner, torch.fx.GraphModule) for inner in part.modules()) else part
    sized = any(_sized(inner) for inner in part.modules())
    part = _compilable(part)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch deprecates TorchScript; bundles need it
        try:
            compiled: torch.jit.ScriptModule = torch.jit.script(part)
        except Exception as fault:  # not every module can be compiled
            if sized:
                raise ExportError(
                    "TorchScript cannot hold an exported graph whose sizes depend on the number of queries: "
                    f"{reason_of(fault)}"
                ) from fault
            compiled = torch.jit.trace(part, example)
    return compiled


def _sized(part: nn.Module) -> bool:
    """Return whether a part is an exported graph that asks for the size of a batch.

    A trace of it would keep the size of the example: an LSTM then has a state of another batch size than its queries,
    which crashes the process.
    """
    return isinstance(part, torch.fx.GraphModule) and any(node.target is SIZE for node in part.graph.nodes)


def _compilable(part: nn.Module) -> nn.Module:
    """Replace exported graphs in a module by ones that TorchScript compiles, and return it."""
    if isinstance(part, Answer) and isinstance(part.network, torch.fx.GraphModule):
        return _plain(part.network, part.output) or part
    if isinstance(part, torch.fx.GraphModule):
        return _plain(part, None) or part
    for name, inner in part.named_children():
        setattr(part, name, _compilable(inner))
    return part


def _plain(exported: torch.fx.GraphModule, output: int | str | None) -> nn.Module | None:
    """Return a graph of one output without the checks of inputs of an exported one, and in the terms of TorchScript.

    Args:
        exported: The graph.
        output: Which of its outputs is the prediction, as for ``Answer``; None for the only one.

    Returns:
        The graph, whose predictions are ``[b, c]`` if ``output`` is given; None if it has no such output.
    """
    graph = torch.fx.Graph()
    every: Any = graph.graph_copy(exported.graph, {})
    spec = getattr(exported.graph._codegen, "pytree_info", None)
    if not isinstance(every, tuple) or spec is None or spec.out_spec is None:
        return None
    try:
        chosen = part_of(tree_unflatten(list(range(len(every))), spec.out_spec), output)
        predictions = every[chosen]
    except (KeyError, IndexError, AttributeError, TypeError):
        return None
    if output is not None and predictions.meta["val"].dim() > 2:
        predictions = graph.call_method("flatten", (predictions, 1))
    graph.output(predictions)
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:  # it checks sizes
            graph.erase_node(node)
        elif node.target is SIZE:
            node.op, node.target = "call_method", "size"
        elif isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
    plain = torch.fx.GraphModule(exported, graph)
    plain.graph.eliminate_dead_code()
    plain.recompile()
    return plain
