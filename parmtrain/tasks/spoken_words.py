"""Ten spoken words, made by the speech synthesiser espeak-ng in the format of Speech Commands."""

import hashlib
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.progress import track
from torch import Tensor
from torchaudio.functional import resample

from parmtrain.errors import DataError
from parmtrain.files import replacing, write_json, write_text
from parmtrain.tasks.audio import fitted, to_int16
from parmtrain.tasks.speech_commands import LISTS, WordFolders

PROGRAM, RECIPE = "espeak-ng", "recipe.json"
SILENT = 0.01
LOUDNESS = 0.1


@dataclass(frozen=True)
class Recipe:
    """What every clip of the data set depends on.

    A voice is a variant with an accent. Validation and test have variants of their own, so that neither the voice nor
    its timbre was heard in training.

    Args:
        words: The words.
        accents: Accents of English.
        train: Variants for training.
        val: Variants for validation.
        test: Variants for testing.
        pitches: espeak-ng's ``-p``, 0 to 99.
        speeds: espeak-ng's ``-s``, words a minute.
        snr: Loudness of the noise below that of the word in dB, drawn evenly between the two.
        seed: Seed of the noise and of where in its second a word lies.
    """

    words: list[str]
    accents: list[str]
    train: list[str]
    val: list[str]
    test: list[str]
    pitches: list[int] = field(default_factory=lambda: [30, 50, 70])
    speeds: list[int] = field(default_factory=lambda: [130, 160, 190])
    snr: tuple[float, float] = (5.0, 20.0)
    seed: int = 0


@dataclass(frozen=True)
class Clip:
    """One clip of the data set: a word, a voice, a pitch and a speed."""

    word: str
    accent: str
    variant: str
    pitch: int
    speed: int
    number: int

    @property
    def name(self) -> str:
        """Its path in the folder of the words."""
        return f"{self.word}/{self.accent}.{self.variant}_nohash_{self.number}.wav"


class SpokenWords(WordFolders):
    """Words spoken by espeak-ng, made once into the data root.

    Args:
        root: The data root; the folder ``spoken_words`` in it is made.
        classes: The words.
        rate: Samples a second.
        recipe: Everything else that the clips depend on, as keywords of ``Recipe``.
    """

    def __init__(self, root: str, classes: list[str], rate: int, recipe: dict[str, object]) -> None:
        super().__init__(Path(root).expanduser() / "spoken_words", classes, rate)
        self.recipe = Recipe(words=self.classes, **recipe)  # type: ignore[arg-type]

    def clips(self, split: str) -> list[Clip]:
        """Return the clips of one split, in the order in which they are made."""
        recipe, variants = self.recipe, getattr(self.recipe, split)
        manners = list(enumerate(product(recipe.pitches, recipe.speeds)))
        return [
            Clip(word, accent, variant, pitch, speed, number)
            for word in self.classes
            for accent, variant in product(recipe.accents, variants)
            for number, (pitch, speed) in manners
        ]

    def locate(self) -> None:
        """Raise a ``DataError`` if the data set is not there, whole and made by this recipe."""
        if not (self.folder / LISTS[1]).is_file():  # the last file to be written
            made = len(list(self.folder.glob("*/*.wav")))
            raise DataError(f"{self.folder} is {'half made' if made else 'missing'}: {made} clips are there")
        self._check_recipe()
        super().locate()

    def download(self) -> None:
        """Make the clips that are not there yet.

        Raises:
            DataError: If espeak-ng is not installed or cannot speak, or another recipe began the folder.
        """
        if shutil.which(PROGRAM) is None:
            raise DataError(
                f"{self.folder} is missing, and {PROGRAM}, which makes it, is not installed; "
                f"`sudo apt-get install {PROGRAM}` installs it on Debian"
            )
        self._check_recipe()
        write_json(self.folder / RECIPE, self.stated)
        every = [clip for split in ("train", "val", "test") for clip in self.clips(split)]
        waiting = [clip for clip in every if not (self.folder / clip.name).is_file()]
        with ThreadPoolExecutor() as pool:
            made = pool.map(self._make, waiting)
            for _ in track(made, total=len(waiting), description="speaking", transient=True):
                pass
        for split, name in zip(("val", "test"), LISTS, strict=True):
            write_text(self.folder / name, "".join(f"{clip.name}\n" for clip in self.clips(split)))
        self.locate()

    @property
    def stated(self) -> dict[str, object]:
        """What ``recipe.json`` beside the words says."""
        stated: dict[str, object] = json.loads(json.dumps({**asdict(self.recipe), "rate": self.rate}))
        return stated

    def _check_recipe(self) -> None:
        path = self.folder / RECIPE
        if path.is_file() and (theirs := json.loads(path.read_text(encoding="utf-8"))) != self.stated:
            differing = [key for key in self.stated if theirs.get(key) != self.stated[key]]
            raise DataError(
                f"{self.folder} was made by another recipe (its {', '.join(differing)} differ); another data.root=…, "
                "or removing the folder, makes room for this one"
            )

    def _make(self, clip: Clip) -> None:
        digest = hashlib.sha256(f"{self.recipe.seed} {clip}".encode()).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
        spoken = _trimmed(self._spoken(clip))
        spare = max(self.samples - len(spoken), 0)
        at = int(torch.randint(spare + 1, (), generator=random))
        placed = torch.nn.functional.pad(spoken, (at, spare - at)) if spare else fitted(spoken, self.samples)
        low, high = self.recipe.snr
        snr = low + (high - low) * torch.rand((), generator=random).item()
        noisy = placed + _noise(self.samples, random) * LOUDNESS * 10 ** (-snr / 20)
        with replacing(self.folder / clip.name) as temporary:
            soundfile.write(temporary, to_int16(noisy).numpy(), self.rate, subtype="PCM_16")

    def _spoken(self, clip: Clip) -> Tensor:
        voice = f"{clip.accent}+{clip.variant}"
        command = [PROGRAM, "-v", voice, "-p", str(clip.pitch), "-s", str(clip.speed), "--stdout", clip.word]
        ended = subprocess.run(command, capture_output=True, check=False)
        if ended.returncode or not ended.stdout:
            reason = ended.stderr.decode(errors="replace").strip() or f"exit status {ended.returncode}"
            raise DataError(f"{PROGRAM} cannot say “{clip.word}” with the voice {voice}: {reason}")
        header = ended.stdout.index(b"data") + 8  # a stream's header does not know its length
        theirs = int.from_bytes(ended.stdout[24:28], "little")
        samples = np.frombuffer(ended.stdout[header:], dtype="<i2").astype(np.float32) / 32768
        resampled: Tensor = resample(torch.from_numpy(samples), theirs, self.rate)
        return resampled


def _trimmed(samples: Tensor) -> Tensor:
    """Cut silence off both ends and bring the word to the loudness that noise is measured against."""
    loud = (samples.abs() > SILENT * samples.abs().max()).nonzero().flatten()
    word = samples[int(loud[0]) : int(loud[-1]) + 1]
    return word * (LOUDNESS / word.square().mean().sqrt())


def _noise(samples: int, random: torch.Generator) -> Tensor:
    """Return noise of loudness 1 whose power falls with frequency as f⁰ (white), f⁻¹ (pink) or f⁻² (brown)."""
    exponent = int(torch.randint(3, (), generator=random)) / 2
    spectrum = torch.fft.rfft(torch.randn(samples, generator=random))
    shaped: Tensor = torch.fft.irfft(spectrum / torch.arange(len(spectrum)).clamp_min(1) ** exponent, n=samples)
    return shaped / shaped.square().mean().sqrt()
