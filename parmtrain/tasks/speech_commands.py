"""Speech Commands in its original format: one folder of WAV files per word, and lists for validation and test."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from parmtrain.bounds import Count, Positive, twice
from parmtrain.errors import DataError, MissingDataError
from parmtrain.progress import progress
from parmtrain.tasks.audio import read_clip
from parmtrain.tasks.download import attempt
from parmtrain.tasks.folder import require_known_folders
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries
from parmtrain.tasks.source import Source

NOISE = "_background_noise_"
LISTS = ("validation_list.txt", "testing_list.txt")


class WordFolders(Source):
    """Clips of one word each, ``<word>/<speaker>_nohash_<number>.wav``.

    ``validation_list.txt`` and ``testing_list.txt`` are in the same folder as the words; all other clips are for
    training.

    Args:
        folder: Folder of the words.
        classes: The words, in the order of the classes; folders of other words are rejected.
        rate: Samples per second to return.
        seconds: Length of a clip in seconds.
    """

    def __init__(self, folder: Path, classes: Sequence[str | int], rate: Count, seconds: Positive = 1.0) -> None:
        self.folder, self.classes, self.rate = folder, [str(word) for word in classes], rate
        self.samples = round(rate * seconds)

    def locate(self) -> None:
        """Raise a ``DataError`` that names missing lists, words or clips, or an unknown word, if any."""
        self._listed()

    def read(self) -> "Splits[QuerySet]":
        """Read the clips, stored as ``[1, t]`` samples (int16)."""
        listed = self._listed()
        return Splits(*(self._read(paths, name) for name, paths in zip(Splits._fields, listed, strict=True)))

    def _read(self, paths: list[Path], split: str) -> QuerySet:
        stored = torch.empty(len(paths), 1, self.samples, dtype=torch.int16)
        for row, path in zip(stored, progress(paths, f"reading {split} clips"), strict=True):
            row[0] = read_clip(path, self.rate, self.samples)
        return TensorQueries(stored, self._labels(paths))

    def _labels(self, paths: list[Path]) -> Tensor:
        return torch.tensor([self.classes.index(path.parent.name) for path in paths], dtype=torch.long)

    def _listed(self) -> "Splits[list[Path]]":
        there = [name for name in (*self.classes, *LISTS) if (self.folder / name).exists()]
        missing = [name for name in (*self.classes, *LISTS) if name not in there]
        if missing:
            raise MissingDataError(
                f"{self.folder} is {'incomplete' if there else 'missing'}: no {', '.join(missing[:5])}"
                f"{' …' if missing[5:] else ''} in it; set data.root=… to another folder"
            )
        require_known_folders(self.folder, self.classes, others=[NOISE])
        validation, test = (self._list(self.folder / name) for name in LISTS)
        if both := set(validation) & set(test):
            raise DataError(f"{min(both)} must be in only one of {LISTS[0]} and {LISTS[1]}, got both")
        held = {*validation, *test}
        every = (path for word in self.classes for path in sorted((self.folder / word).glob("*.wav")))
        visible = (path for path in every if not path.name.startswith("."))
        splits = Splits([path for path in visible if path not in held], validation, test)
        for name, paths in zip(Splits._fields, splits, strict=True):
            if not paths:
                raise DataError(f"{self.folder} must hold 1 or more clips for the {name} split, got 0")
        return splits

    def _list(self, path: Path) -> list[Path]:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as fault:
            raise DataError(f"{path} must be UTF-8 text: {fault}") from fault
        for line in lines:
            if str(Path(line).parent) not in self.classes or not (self.folder / line).is_file():
                raise DataError(f"{path} names {line}, which is not a clip of one of task.classes")
        if (again := twice(lines)) is not None:
            raise DataError(f"{path} names {again} twice; name each clip once")
        return [self.folder / line for line in lines]


class SpeechCommands(WordFolders):
    """Google's Speech Commands, version 0.01 (30 words) or 0.02 (35 words).

    Args:
        root: Folder that holds ``SpeechCommands/speech_commands_v0.01``, as torchaudio unpacks it, or the folder of
            the words itself.
        version: ``0.01`` or ``0.02``.
        classes: The words.
        rate: Samples per second to return.

    Source: Warden, Speech Commands (arXiv 1804.03209).
    """

    def __init__(self, root: str, version: str, classes: Sequence[str | int], rate: Count) -> None:
        self.root, self.archive = Path(root).expanduser(), f"speech_commands_v{version}"
        places = (self.root / "SpeechCommands" / self.archive, self.root / self.archive, self.root)
        inside = [place for place in places if (place / LISTS[0]).is_file()]
        super().__init__(inside[0] if inside else places[0], classes, rate)

    def download(self) -> None:
        """Download with torchaudio, in its layout under ``root``."""
        from torchaudio.datasets import SPEECHCOMMANDS

        self.root.mkdir(parents=True, exist_ok=True)
        attempt(lambda: SPEECHCOMMANDS(str(self.root), url=self.archive, download=True), self.locate)
