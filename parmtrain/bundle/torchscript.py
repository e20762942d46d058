"""TorchScript archives, which load without parmtrain, from Python and from C++."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
    if isinstance(part, torch.fx.GraphModule):
        return _plain(part)
    for name, inner in part.named_children():
        setattr(part, name, _compilable(inner))
    return part


def _plain(exported: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Return a graph of one output without the checks of inputs of an exported one, and in the terms of TorchScript."""
    graph = torch.fx.Graph()
    output: Any = graph.graph_copy(exported.graph, {})
    if not isinstance(output, tuple) or len(output) != 1:  # named outputs
        return exported
    graph.output(output[0])
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:  # it checks sizes
            graph.erase_node(node)
        elif node.target is SIZE:
            node.op, node.target = "call_method", "size"
        elif isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
    return torch.fx.GraphModule(exported, graph)
