"""A parity model that begins with the weights of one that was trained for another k.

In a configuration: ``parity=mlp parity.start=random parity.model._target_=experiments.accuracy.starts.continued
+parity.model.path=RUN/export/parity_model.ts``.
"""

from collections.abc import Sequence
from pathlib import Path

from parmtrain.models import MLP
from parmtrain.programs import read_torchscript


def continued(path: str, query_shape: Sequence[int], outputs: int, hidden: Sequence[int] = (200, 100)) -> MLP:
    """Return a perceptron with the weights of an exported one, where shapes match."""
    model = MLP(query_shape, outputs, hidden)
    theirs, ours = read_torchscript(Path(path)).state_dict(), model.state_dict()
    model.load_state_dict(
        {name: theirs[name] if theirs[name].shape == ours[name].shape else ours[name] for name in ours}
    )
    return model
