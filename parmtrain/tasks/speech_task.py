"""Recognition of spoken words, with spectrograms made once where nothing random comes before them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import nn

from parmtrain.tasks.classification import Classification
from parmtrain.tasks.kept import kept
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source
from parmtrain.tasks.speech import SpeechInput

BATCH = 256


class SpeechRecognition(Classification):
    """Inference of a spoken word.

    Validation and test queries, and training queries where no augmentation changes waveforms, are turned into
    spectrograms once, which are kept in the cache as files that memory is mapped to.

    Args:
        name: Its name on the command line.
        query_shape: Shape of one query.
        outputs: Number of words.
        classes: The words.
        source: Where the clips come from.
        input: What the deployed model expects of its input.
        cache: Folder that spectrograms are kept in.
        concat: How ``code=concat`` lays queries out; its configuration reads it here.
        augment: Random change of waveforms in training.
        augment_query: Random change of queries in training.
    """

    input: SpeechInput

    def __init__(
        self,
        name: str,
        query_shape: Sequence[int],
        outputs: int,
        classes: Sequence[str],
        source: Source,
        input: SpeechInput,
        cache: str,
        concat: str = "row",
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        super().__init__(name, query_shape, outputs, classes, source, input, augment, augment_query)
        self.cache, self.concat = Path(cache).expanduser(), concat

    def splits(self) -> "Splits[QuerySet]":
        """Read the data, or raise a ``DataError``."""
        read = super().splits()
        if self.input.query == "waveform":
            return read
        fixed = {name: name != "train" or self.augment is None for name in Splits._fields}
        return Splits(*(self._made(part) if fixed[name] else part for name, part in read._asdict().items()))

    def _made(self, clips: QuerySet) -> QuerySet:
        """Return spectrograms ``[n, *query]`` of clips, from the cache if they are there."""
        key: dict[str, Any] = {"data": clips.digest, "input": self.input.settings}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        path = self.cache / "spectrograms" / f"{digest}.npy"
        batches = track(torch.arange(len(clips)).split(BATCH), description="spectrograms", transient=True)
        with torch.no_grad():
            made = kept(
                path, (len(clips), *self.query_shape), np.float32, (self.input(clips[some][0]) for some in batches)
            )
        return TensorQueries(made, clips.labels)
