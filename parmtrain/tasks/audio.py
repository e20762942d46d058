"""Read speech clips: any WAV file as mono samples of a given rate and length."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from parmtrain.errors import DataError

FULL_SCALE = 32767
UNCOMPRESSED = (1, 3, 0xFFFE)  # PCM, floating point, extensible


def read_clip(path: Path, rate: int, samples: int) -> Tensor:
    """Read one clip: mix its channels, resample it, and pad or trim both ends to a given length.

    Args:
        path: A WAV file of any sample rate, bit depth and number of channels.
        rate: Samples per second to return.
        samples: Number of samples to return.

    Returns:
        Samples ``[samples]`` (int16).

    Raises:
        DataError: If the file is missing, not a WAV file, empty, shorter than its header states, or not finite.
    """
    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in ("WAV", "WAVEX"):
                raise DataError(f"{path} must be a WAV file, got {file.format}")
            promised, theirs = file.frames, file.samplerate
            every = -1 if file.seekable() else promised  # GSM is not
            content = file.read(every, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as fault:
        if not path.is_file():
            raise DataError(f"{path}: file not found") from fault
        raise DataError(f"{path} is damaged or not a WAV file ({str(fault).partition(': ')[2] or fault})") from fault
    stated = _stated_frames(path)
    if len(content) == 0:
        raise DataError(f"{path} must hold 1 or more samples, got 0")
    if len(content) < max(promised, stated):
        raise DataError(
            f"{path} is truncated: it must hold {max(promised, stated)} samples (its header), got {len(content)}"
        )
    if not np.isfinite(content).all():
        raise DataError(f"{path} must hold finite samples, got NaN or infinite ones")
    mono = torch.from_numpy(content.mean(axis=1))
    return to_int16(fitted(mono if theirs == rate else resample(mono, theirs, rate), samples))


def fitted(mono: Tensor, samples: int) -> Tensor:
    """Return ``samples`` samples: the middle of a longer clip, or a shorter clip padded with silence on both sides.

    Example:
        >>> fitted(torch.tensor([1.0, 2.0, 3.0]), 5), fitted(torch.tensor([1.0, 2.0, 3.0]), 1)
        (tensor([0., 1., 2., 3., 0.]), tensor([2.]))
    """
    spare = samples - len(mono)
    if spare < 0:
        return mono[-spare // 2 : -spare // 2 + samples]
    return torch.nn.functional.pad(mono, (spare // 2, spare - spare // 2))


def to_int16(samples: Tensor) -> Tensor:
    """Convert samples between −1 and 1 to 16-bit integers."""
    return (samples.clamp(-1, 1) * FULL_SCALE).round().to(torch.int16)


def _stated_frames(path: Path) -> int:
    """Return the number of frames that the header states; soundfile reports the file's actual length instead."""
    with path.open("rb") as file:
        content = file.read(4096)
    frame, kind, at = 0, 0, 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name == b"fmt ":
            kind = int.from_bytes(content[at + 8 : at + 10], "little")
            frame = int.from_bytes(content[at + 20 : at + 22], "little")
        if name == b"data":  # only PCM and floating-point samples have one size each
            return size // frame if frame and kind in UNCOMPRESSED and size < 2**31 else 0
        at += 8 + size + size % 2
    return 0
