"""Queries of speech: spectrograms, augmentation, and whole runs on clips."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from parmtrain import compose, load, run
from parmtrain.codes import Stack
from parmtrain.config import assemble
from parmtrain.config.check import check
from parmtrain.errors import ConfigError, ParmtrainError
from parmtrain.run_folder import RunFolder
from parmtrain.tasks.speech import LogMagnitude, LogMel, SpecAugment, TimeShift
from tests.small_runs import small_run
from tests.tiers import thorough


def test_the_papers_spectrogram_by_a_plain_loop() -> None:
    waveform = torch.randn(1, 1, 16000) * 0.1
    padded = torch.nn.functional.pad(waveform, (160, 160), mode="reflect")[0, 0].numpy()
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(320) / 320)
    frames = [np.abs(np.fft.rfft(padded[at : at + 320] * window)) for at in range(0, 16001, 160)]
    expected = np.log1p(np.stack(frames, axis=1))
    expected = (expected - expected.mean()) / expected.std(ddof=1)
    assert np.allclose(LogMagnitude(16000)(waveform)[0, 0].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("features", [LogMagnitude(16000), LogMel(16000)])
def test_silence_and_batches_of_spectrograms(features: torch.nn.Module) -> None:
    assert features(torch.zeros(2, 1, 16000)).isfinite().all()
    clips = torch.randn(3, 1, 16000)
    assert torch.allclose(features(clips)[1], features(clips[1:2])[0], atol=1e-4)
    assert torch.allclose(torch.jit.script(features)(clips), features(clips), atol=1e-5)
    assert features(Stack(3).encode(clips[None])[:, 0]).shape[1] == 3


def test_shifts_are_random_stay_within_bounds_and_leave_silence() -> None:
    torch.manual_seed(0)
    clips = torch.zeros(200, 1, 1000, dtype=torch.int16)
    clips[:, 0, 500] = 7
    moved = TimeShift(most=100)(clips)
    at = (moved == 7).nonzero()
    assert len(at) == 200
    assert at[:, 2].min() >= 400
    assert at[:, 2].max() <= 600
    assert len(at[:, 2].unique()) > 100
    assert (TimeShift(most=100)(torch.ones(50, 1, 1000)) == 0).sum() > 0


def test_spec_augment_blots_each_spectrogram_out_by_itself() -> None:
    torch.manual_seed(0)
    changed = SpecAugment(bands=8, frames=20)(torch.ones(50, 1, 40, 101)) == 0
    bands, frames = changed.all(dim=3).sum(dim=2), changed.all(dim=2).sum(dim=2)
    assert bands.max() < 8
    assert frames.max() < 20
    assert len(bands.unique()) > 3
    assert len(frames.unique()) > 3


@pytest.mark.slow
@pytest.mark.parametrize("query", ["spectrogram", "waveform"])
@pytest.mark.parametrize("code", ["sum", thorough("stack"), thorough("linear")])
def test_words_are_coded_as_spectrograms_or_as_waveforms(
    query: str, code: str, data_root: Path, tmp_path: Path
) -> None:
    overrides = (
        "task=spoken_words",
        f"data.root={data_root}",
        f"task.input.query={query}",
        f"code={code}",
        "groups=20",
    )
    metrics = small_run(tmp_path, *overrides, "trainer.max_epochs=1", "deployed.fit.epochs=2").metrics
    assert metrics["available"]["accuracy"] > 0.2
    shapes = load(tmp_path).about["shapes"]
    assert shapes["query"] == ([1, 40, 101] if query == "spectrogram" else [1, 16000])
    assert shapes["parity_query"] == [2 if code == "stack" else 1, *shapes["query"][1:]]
    assert metrics["cost"]["parity_flops"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("task", ["speech_commands_v2", thorough("speech_commands")])
def test_speech_commands_run_to_the_exported_bundle(task: str, data_root: Path, tmp_path: Path) -> None:
    overrides = (f"task={task}", f"data.root={data_root}", "model@deployed.model=lenet", "features=log_mel")
    metrics = small_run(tmp_path, *overrides, "trainer.max_epochs=1", "deployed.fit.epochs=1").metrics
    assert metrics["degraded"]["groups"] == len(compose(f"task={task}").task.classes) // 2
    about = load(tmp_path).about
    assert about["preprocessing"]["features"] == "LogMel"
    assert about["shapes"]["query"] == [1, 40, 101]
    assert (tmp_path / "examples.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda clip: clip.write_bytes(b""), "is damaged or not a WAV file"),
        thorough(lambda clip: clip.write_bytes(clip.read_bytes()[:3000]), "is truncated: it must hold 16000 samples"),
        thorough(lambda clip: (clip.parents[1] / "word").mkdir(), "must be the folder of one of task.classes"),
        thorough(
            lambda clip: (clip.parents[1] / "testing_list.txt").write_text("bed/gone.wav"),
            "which is not a clip of one of task.classes",
        ),
    ],
)
def test_clips_and_lists_that_are_wrong_are_named_before_any_training(
    spoil: Callable[[Path], object], sentence: str, data_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(data_root / "SpeechCommands" / "speech_commands_v0.01", tmp_path / "words")
    clip = sorted((tmp_path / "words" / "bed").iterdir())[0]
    spoil(clip)
    cfg = compose("task=speech_commands", f"data.root={tmp_path / 'words'}", "data.download=false")
    with pytest.raises(ParmtrainError, match=re.escape(str(tmp_path / "words"))) as fault:
        run(cfg, tmp_path / "run")
    assert sentence in str(fault.value)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.slow
def test_spectrograms_are_made_once_where_nothing_random_precedes_them(data_root: Path, tmp_path: Path) -> None:
    overrides = ("task=spoken_words", f"data.root={data_root}", f"cache={tmp_path}")
    kinds = {}
    for augment, more in (("fixed", ["task.augment=null"]), ("moved", [])):
        splits = assemble.build(compose(*overrides, *more).task).splits()
        kinds[augment] = [part[torch.tensor([0])][0].dtype for part in splits]
    assert kinds == {"fixed": [torch.float32] * 3, "moved": [torch.int16, torch.float32, torch.float32]}
    made = sorted((tmp_path / "spectrograms").glob("*.npy"))
    assert len(made) == 3
    task = assemble.build(compose(*overrides, "task.augment=null").task)
    kept, fresh = task.splits().train[torch.arange(5)][0], task.source.read().train[torch.arange(5)][0]
    assert torch.allclose(kept, task.input(fresh), atol=1e-5)
    assert torch.equal(task.input(kept), kept)


def test_a_query_is_a_spectrogram_or_a_waveform() -> None:
    cfg = compose("task=spoken_words")
    cfg.task.input.query, cfg.task.query_shape = "song", [1]
    with pytest.raises(ConfigError, match=r"task\.input\.query must be spectrogram or waveform, got song"):
        assemble.build(cfg.task)


def test_waveforms_are_not_laid_beside_one_another(data_root: Path, tmp_path: Path) -> None:
    cfg = compose("task=spoken_words", "task.input.query=waveform", f"data.root={data_root}")
    (fault,) = check(cfg, RunFolder(tmp_path))
    assert "got [1, 16000]; code=backup and code=sum take any shape" in fault.sentence
