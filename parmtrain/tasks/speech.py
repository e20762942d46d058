"""Preprocessing of speech for the deployed model: waveforms or spectrograms, and random augmentation of both."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchaudio.transforms import FrequencyMasking, MelSpectrogram, Spectrogram, TimeMasking

from parmtrain.bounds import Count, Whole
from parmtrain.errors import ConfigError
from parmtrain.tasks.audio import FULL_SCALE
from parmtrain.tasks.base import TaskInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-6


class Features(nn.Module):
    """Map waveforms to spectrograms, each normalised to mean 0 and standard deviation 1.

    Args:
        spectrogram: Maps samples ``[..., t]`` to non-negative values ``[..., f, frames]``.
    """

    def __init__(self, spectrogram: nn.Module) -> None:
        super().__init__()
        self.spectrogram, self.smallest = spectrogram, SMALLEST

    def compress(self, values: Tensor) -> Tensor:
        """Return the logarithm of 1 + ``values``."""
        return torch.log1p(values)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Map waveforms ``[b, c, t]`` between −1 and 1 to spectrograms ``[b, c, f, frames]``."""
        values = self.compress(self.spectrogram(waveforms))
        mean = values.mean(dim=[-2, -1], keepdim=True)
        deviation = values.std(dim=[-2, -1], keepdim=True)
        return (values - mean) / (deviation + self.smallest)


class LogMagnitude(Features):
    """The log-magnitude spectrogram of ParM: log(1 + magnitude), Hamming windows of 20 ms every 10 ms, z-score.

    Args:
        rate: Samples per second.

    Source: Kosaian et al., ParM (SOSP'19), section 4.1, after Deep Speech 2 (arXiv 1512.02595).

    Example:
        >>> LogMagnitude(rate=16000)(torch.rand(5, 1, 16000)).shape
        torch.Size([5, 1, 161, 101])
    """

    def __init__(self, rate: Count) -> None:
        window, step = rate // 50, rate // 100
        super().__init__(Spectrogram(n_fft=window, hop_length=step, window_fn=torch.hamming_window, power=1.0))


class LogMel(Features):
    """The log-mel spectrogram: windows of 25 ms every 10 ms, z-score.

    Args:
        rate: Samples per second.
        bands: Number of mel bands.

    Example:
        >>> LogMel(rate=16000, bands=40)(torch.rand(5, 1, 16000)).shape
        torch.Size([5, 1, 40, 101])
    """

    def __init__(self, rate: Count, bands: Count = 40) -> None:
        super().__init__(MelSpectrogram(rate, n_fft=rate // 40, hop_length=rate // 100, n_mels=bands))

    def compress(self, values: Tensor) -> Tensor:
        """Return the logarithm of power."""
        return torch.log(values + self.smallest)


class SpeechInput(TaskInput):
    """Convert stored clips to queries: spectrograms, or waveforms that models convert to spectrograms themselves.

    The choice determines what an encoder adds: spectrograms, which have lost their phases, or waveforms, which add up
    like two voices in a room.

    Args:
        features: Maps waveforms ``[b, 1, t]`` to spectrograms.
        query: ``spectrogram`` or ``waveform``.
        shapes: Query shape for each of the two; the configuration reads it.

    Raises:
        ConfigError: If ``query`` has another value.

    Example:
        >>> clips, shapes = torch.zeros(5, 1, 16000, dtype=torch.int16), {"spectrogram": [], "waveform": []}
        >>> SpeechInput(LogMagnitude(16000), "spectrogram", shapes)(clips).shape
        torch.Size([5, 1, 161, 101])
        >>> SpeechInput(LogMagnitude(16000), "waveform", shapes)(clips).shape
        torch.Size([5, 1, 16000])
    """

    def __init__(self, features: Features, query: str, shapes: dict[str, list[int]]) -> None:
        if query not in shapes:
            raise ConfigError([f"task.input.query must be {' or '.join(shapes)}, got {query}"])
        super().__init__()
        self.query, self.spectrogram = query, features

    @property
    def features(self) -> nn.Module | None:
        """The spectrogram if queries are waveforms, otherwise None."""
        return self.spectrogram if self.query == "waveform" else None

    @property
    def settings(self) -> dict[str, Any]:
        """Preprocessing of a clip, as plain values for a server."""
        transform = self.spectrogram.spectrogram
        return {
            "query": self.query,
            "full_scale": FULL_SCALE,
            "features": type(self.spectrogram).__name__,
            "window": transform.n_fft,
            "step": transform.hop_length,
            "bands": getattr(transform, "n_mels", None),
        }

    def draw(self, axes: "Axes", query: Tensor) -> None:
        """Draw a spectrogram ``[c, f, frames]`` or a waveform ``[c, t]`` over time."""
        if query.dim() == 3:
            axes.imshow(query.mean(0), origin="lower", aspect="auto", cmap="magma")
        else:
            axes.plot(query.mean(0), "-", linewidth=0.4)
        axes.set(xticks=[], yticks=[], xlabel="time", ylabel="frequency" if query.dim() == 3 else "")

    def forward(self, stored: Tensor) -> Tensor:
        """Map clips ``[b, 1, t]`` (int16) to queries; precomputed spectrograms pass unchanged."""
        if stored.is_floating_point():
            return stored
        waveforms = stored.to(torch.float32) / FULL_SCALE
        queries: Tensor = self.spectrogram(waveforms) if self.query == "spectrogram" else waveforms
        return queries


class TimeShift(nn.Module):
    """Shift each clip by a random number of samples, and fill the gap with silence.

    Args:
        most: Largest shift in samples, to either side.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> TimeShift(most=1600)(torch.ones(5, 1, 16000, dtype=torch.int16)).shape
        torch.Size([5, 1, 16000])
    """

    def __init__(self, most: Whole) -> None:
        super().__init__()
        self.most = most

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips ``[b, c, t]`` to shifted ones of the same shape and type."""
        batch, _, samples = clips.shape
        shift = torch.randint(-self.most, self.most + 1, (batch, 1), device=clips.device)
        source = torch.arange(samples, device=clips.device) - shift
        moved = clips.gather(2, source.clamp(0, samples - 1).unsqueeze(1).expand_as(clips))
        return moved * ((source >= 0) & (source < samples)).unsqueeze(1)


class SpecAugment(nn.Module):
    """Mask a random frequency band and a random time span of each spectrogram.

    Args:
        bands: Largest width of the frequency band.
        frames: Largest length of the time span.

    Source: Park et al., SpecAugment (arXiv 1904.08779), section 2; without time warping.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> (SpecAugment(bands=8, frames=20)(torch.ones(3, 1, 40, 101)) == 0).any()
        tensor(True)
    """

    def __init__(self, bands: Whole, frames: Whole) -> None:
        super().__init__()
        self.masks = nn.Sequential(FrequencyMasking(bands, iid_masks=True), TimeMasking(frames, iid_masks=True))

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Map spectrograms ``[b, c, f, frames]`` to masked ones."""
        changed: Tensor = self.masks(spectrograms)
        return changed
