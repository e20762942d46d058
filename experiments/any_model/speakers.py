"""Resemblyzer's speaker embedding as the deployed model of spoken clips.

    python experiments/any_model/speakers.py CLIPS WEIGHTS OUT

CLIPS is a data set in the layout of Speech Commands. OUT gets logarithms of mel spectrograms of 1.6 s ``[1, 160, 40]``
for ``task=embedding``, computed as the package does, without its detection of silence. WEIGHTS is in the package
(``pip download --no-deps resemblyzer``, ``unzip``): ``resemblyzer/pretrained.pt``. OUT/encoder.pt has them without the
two numbers of its training loss. `Encoder` is its architecture.

Source: Wan et al., Generalized End-to-End Loss for Speaker Verification (ICASSP 2018).
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor, nn

RATE, FRAMES, MELS, STEP = 16000, 160, 40, 160
LEVEL = 10 ** (-30 / 20)  # root mean square of a clip, to which quieter ones are amplified
LEAST = 1e-6  # of the power of a band
SPLITS = {"val": "validation_list.txt", "test": "testing_list.txt"}


class Encoder(nn.Module):
    """Map logarithms of spectrograms ``[b, 1, 160, 40]`` to embeddings ``[b, 256]`` of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, spectrograms: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(spectrograms.squeeze(1).exp())
        embeddings = torch.relu(self.linear(hidden[-1]))
        return embeddings / (embeddings.norm(dim=1, keepdim=True) + 1e-9)


MEL = torchaudio.transforms.MelSpectrogram(
    RATE, n_fft=400, hop_length=STEP, n_mels=MELS, norm="slaney", mel_scale="slaney", power=2.0, pad_mode="constant"
)


def spectrogram(path: Path) -> np.ndarray:
    sound, rate = soundfile.read(path, dtype="float32")
    sound = torchaudio.functional.resample(torch.from_numpy(sound), rate, RATE)
    sound = sound * max(1.0, LEVEL / (sound.square().mean().sqrt().item() + 1e-9))
    padded = nn.functional.pad(sound[: FRAMES * STEP], (0, max(0, FRAMES * STEP - len(sound))))
    return (MEL(padded)[:, :FRAMES].T[None] + LEAST).log().numpy()


def main(clips: Path, weights: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    state = torch.load(weights, weights_only=True, map_location="cpu")["model_state"]
    torch.save({name: state[name] for name in Encoder().state_dict()}, out / "encoder.pt")
    listed = {split: set((clips / name).read_text().split()) for split, name in SPLITS.items()}
    every = sorted(path.relative_to(clips).as_posix() for path in clips.glob("*/*.wav"))
    listed["train"] = set(every) - listed["val"] - listed["test"]
    for split, names in listed.items():
        np.save(out / f"{split}_queries.npy", np.stack([spectrogram(clips / name) for name in every if name in names]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
