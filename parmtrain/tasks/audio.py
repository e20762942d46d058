"""Reading clips of speech: any WAV file as mono samples of one rate and one length."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from parmtrain.errors import DataError

FULL_SCALE = 32767


def read_clip(path: Path, rate: int, samples: int) -> Tensor:
    """Read one clip: channels mixed, resampled, a short one padded with silence, a long one cut at both ends.

    Args:
        path: A WAV file of any rate, width and number of channels.
        rate: Samples a second to return.
        samples: How many to return.

    Returns:
        Samples ``[samples]`` (int16).

    Raises:
        DataError: If the file is missing, no WAV file, empty, shorter than its header says, or holds NaN.
    """
    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in ("WAV", "WAVEX"):
                raise DataError(f"{path} is no WAV file but {file.format}")
            promised, theirs = file.frames, file.samplerate
            content = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as fault:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file") from fault
        raise DataError(f"{path} is damaged, or no WAV file ({str(fault).partition(': ')[2] or fault})") from fault
    stated = _stated_frames(path)
    if len(content) == 0:
        raise DataError(f"{path} is empty: it holds no sample")
    if len(content) < max(promised, stated):
        raise DataError(
            f"{path} is truncated: its header promises {max(promised, stated)} samples, {len(content)} follow"
        )
    if not np.isfinite(content).all():
        raise DataError(f"{path} holds NaN or infinite samples")
    mono = torch.from_numpy(content.mean(axis=1))
    return to_int16(fitted(mono if theirs == rate else resample(mono, theirs, rate), samples))


def fitted(mono: Tensor, samples: int) -> Tensor:
    """Return ``samples`` samples: the middle of a longer clip, or a shorter one with silence on both sides.

    Example:
        >>> fitted(torch.tensor([1.0, 2.0, 3.0]), 5), fitted(torch.tensor([1.0, 2.0, 3.0]), 1)
        (tensor([0., 1., 2., 3., 0.]), tensor([2.]))
    """
    spare = samples - len(mono)
    if spare < 0:
        return mono[-spare // 2 : -spare // 2 + samples]
    return torch.nn.functional.pad(mono, (spare // 2, spare - spare // 2))


def to_int16(samples: Tensor) -> Tensor:
    """Return samples between −1 and 1 as 16-bit integers."""
    return (samples.clamp(-1, 1) * FULL_SCALE).round().to(torch.int16)


def _stated_frames(path: Path) -> int:
    """Return how many frames the header states, even if the file is shorter: readers trust the file's length."""
    with path.open("rb") as file:
        content = file.read(4096)
    frame, at = 0, 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"fmt ":
            frame = int.from_bytes(content[at + 20 : at + 22], "little")
        if name == b"data":
            return size // frame if frame and size < 2**31 else 0
        at += 8 + size + size % 2
    return 0
