"""Recognition of spoken words, with cached spectrograms wherever waveforms are not augmented."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from parmtrain.bounds import Count, Name
from parmtrain.cache import cached_array, key_of
from parmtrain.progress import progress
from parmtrain.tasks.classification import Classification
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source
from parmtrain.tasks.speech import SpeechInput

BATCH = 256


class SpeechRecognition(Classification):
    """Prediction of a spoken word.

    The spectrograms of validation and test queries, and of training queries unless ``augment`` changes waveforms, are
    computed once and cached in memory-mapped files.

    Args:
        name: Name of the task on the command line.
        query_shape: Shape of one query.
        outputs: Number of words.
        classes: The words.
        source: Where the clips come from.
        input: Turns stored queries into what the deployed model expects.
        cache: Folder to cache spectrograms in.
        augment: Random augmentation of waveforms in training.
        augment_query: Random augmentation of queries in training.
    """

    input: SpeechInput

    def __init__(
        self,
        name: Name,
        query_shape: Sequence[Count],
        outputs: Count,
        classes: Sequence[str | int],
        source: Source,
        input: SpeechInput,
        cache: str,
        augment: nn.Module | None = None,
        augment_query: nn.Module | None = None,
    ) -> None:
        super().__init__(name, query_shape, outputs, classes, source, input, augment, augment_query)
        self.cache = Path(cache).expanduser()

    def splits(self) -> "Splits[QuerySet]":
        """Read the data; raise a ``DataError`` if it is missing, incomplete or damaged."""
        read = super().splits()
        if self.input.query == "waveform":
            return read
        fixed = {name: name != "train" or self.augment is None for name in Splits._fields}
        return Splits(*(self._made(part) if fixed[name] else part for name, part in read._asdict().items()))

    def _made(self, clips: QuerySet) -> QuerySet:
        """Return spectrograms ``[n, *query]`` of clips, from the cache if possible."""
        key = key_of({"data": clips.digest, "input": self.input.settings})
        path = self.cache / "spectrograms" / f"{key}.npy"
        batches = progress(torch.arange(len(clips)).split(BATCH), "spectrograms")
        with torch.no_grad():
            made = cached_array(
                path, (len(clips), *self.query_shape), np.float32, (self.input(clips[some][0]) for some in batches)
            )
        return TensorQueries(made, clips.labels)
