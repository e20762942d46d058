"""Speech: clips of any kind, Speech Commands' format, words spoken by espeak-ng, spectrograms."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from parmtrain import compose, load, run
from parmtrain.codes import Stack
from parmtrain.config import assemble
from parmtrain.config.check import check
from parmtrain.errors import ConfigError, DataError, ParmtrainError
from parmtrain.tasks.audio import FULL_SCALE, read_clip
from parmtrain.tasks.speech import LogMagnitude, LogMel, SpecAugment, TimeShift
from parmtrain.tasks.speech_commands import SpeechCommands, WordFolders
from parmtrain.tasks.spoken_words import SpokenWords
from tests.formats import tone, write_words
from tests.test_runs import small_run

WORDS = ["yes", "no", "up"]
VOICES = {"accents": ["en-gb", "en-us"], "train": ["m1", "f1"], "val": ["m3"], "test": ["f3"]}
SMALL = {**VOICES, "pitches": [40, 60], "speeds": [160]}
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.mark.parametrize(
    ("rate", "subtype", "channels"),
    [(16000, "PCM_16", 1), (8000, "PCM_16", 1), (44100, "PCM_24", 2), (16000, "FLOAT", 1), (22050, "PCM_U8", 1)],
)
def test_clips_of_any_rate_width_and_channels_are_read_alike(
    rate: int, subtype: str, channels: int, tmp_path: Path
) -> None:
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "clip.wav", np.stack([sound] * channels, axis=1), rate, subtype=subtype)
    clip = read_clip(tmp_path / "clip.wav", 16000, 16000)
    assert (clip.dtype, clip.shape) == (torch.int16, (16000,))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    middle = slice(200, -200)
    assert np.abs(clip.numpy()[middle] / FULL_SCALE - expected[middle]).max() < 0.02
    loudest = torch.fft.rfft(clip.double()).abs().argmax()
    assert loudest == 440


def test_short_clips_are_padded_and_long_ones_cut_on_both_sides(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.full(1000, 0.5), 16000)
    short = read_clip(tmp_path / "short.wav", 16000, 4000)
    assert (short != 0).nonzero().flatten()[[0, -1]].tolist() == [1500, 2499]
    soundfile.write(tmp_path / "long.wav", np.linspace(-1, 1, 8001), 16000)
    long = read_clip(tmp_path / "long.wav", 16000, 4001)
    assert abs(int(long[2000])) <= 1


def test_clips_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    def sentence(name: str) -> str:
        with pytest.raises(DataError) as fault:
            read_clip(tmp_path / name, 16000, 16000)
        assert str(fault.value).startswith(str(tmp_path / name))
        return str(fault.value)

    soundfile.write(tmp_path / "whole.wav", tone(0, 0), 16000, subtype="PCM_16")
    whole = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "truncated.wav").write_bytes(whole[:9000])
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("these are words, but not spoken ones")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "other.wav", tone(0, 0), 16000, format="FLAC")
    assert "there is no such file" in sentence("missing.wav")
    assert "is truncated: its header promises 16000 samples, 4478 follow" in sentence("truncated.wav")
    assert "is damaged, or no WAV file" in sentence("nothing.wav")
    assert "is damaged, or no WAV file" in sentence("text.wav")
    assert "is empty: it holds no sample" in sentence("empty.wav")
    assert "holds NaN or infinite samples" in sentence("nan.wav")
    assert "is no WAV file but FLAC" in sentence("other.wav")


def test_lists_say_what_is_for_validation_and_test(tmp_path: Path) -> None:
    write_words(tmp_path, WORDS, train=3, held=2)
    (tmp_path / "_background_noise_").mkdir()
    soundfile.write(tmp_path / "_background_noise_" / "rain.wav", tone(0, 0), 16000)
    splits = WordFolders(tmp_path, WORDS, 16000).read()
    assert [len(part) for part in splits] == [9, 6, 6]
    for part in splits:
        assert sorted(set(part.labels.tolist())) == [0, 1, 2]
        stored, labels = part[torch.arange(len(part))]
        assert (stored.dtype, stored.shape[1:]) == (torch.int16, (1, 16000))
        loudest = torch.fft.rfft(stored[:, 0].double()).abs().argmax(dim=1)
        assert torch.equal(loudest, 200 * (labels + 1))


def test_folders_that_are_not_as_they_should_be_are_named(tmp_path: Path) -> None:
    def sentence(words: list[str] = WORDS) -> str:
        with pytest.raises(DataError) as fault:
            WordFolders(tmp_path, words, 16000).locate()
        return str(fault.value)

    assert f"{tmp_path} is missing: no yes, no, up, validation_list.txt, testing_list.txt in it" in sentence()
    write_words(tmp_path, WORDS, train=2, held=1)
    assert f"{tmp_path} is incomplete: no down in it" in sentence([*WORDS, "down"])
    assert f"{tmp_path}/up is the folder of a word that is none of task.classes: yes, no" in sentence(WORDS[:2])
    listed = (tmp_path / "testing_list.txt").read_text()
    (tmp_path / "testing_list.txt").write_text(listed + "yes/never_nohash_0.wav\n")
    assert f"testing_list.txt names {tmp_path}/yes/never_nohash_0.wav, and there is no such clip" in sentence()
    (tmp_path / "testing_list.txt").write_text(listed + (tmp_path / "validation_list.txt").read_text())
    assert "is in validation_list.txt and in testing_list.txt" in sentence()
    (tmp_path / "testing_list.txt").write_text("")
    assert f"{tmp_path} has no clip for the test split" in sentence()


@pytest.mark.parametrize("place", ["SpeechCommands/speech_commands_v0.02", "speech_commands_v0.02", "."])
def test_speech_commands_is_found_where_torchaudio_puts_it_or_by_itself(place: str, tmp_path: Path) -> None:
    write_words(tmp_path / place, WORDS, train=1, held=1)
    SpeechCommands(str(tmp_path), "0.02", WORDS, 16000).locate()


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
    }


@needs_espeak
def test_the_same_seed_speaks_the_same_bytes_and_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    first = SpokenWords(str(tmp_path / "a"), WORDS, 16000, SMALL)
    first.download()
    made = digests(first.folder)
    assert len(made) == 3 * 2 * 4 * 2 + 3
    again = SpokenWords(str(tmp_path / "b"), WORDS, 16000, SMALL)
    shutil.copytree(first.folder, again.folder)
    for name in ("testing_list.txt", "yes/en-us.f3_nohash_1.wav", "up/en-gb.m1_nohash_0.wav"):
        (again.folder / name).unlink()
    with pytest.raises(DataError, match="spoken_words is half made: 46 clips are there"):
        again.locate()
    again.download()
    assert digests(again.folder) == made
    other = SpokenWords(str(tmp_path / "c"), WORDS, 16000, {**SMALL, "seed": 1})
    other.download()
    differing = [name for name, digest in digests(other.folder).items() if made[name] != digest]
    assert len(differing) == 48 + 1  # every clip, and the recipe
    with pytest.raises(DataError, match=r"was made by another recipe \(its seed differ\)"):
        SpokenWords(str(tmp_path / "a"), WORDS, 16000, {**SMALL, "seed": 1}).locate()


@needs_espeak
def test_voices_of_the_test_split_are_never_heard_in_training(tmp_path: Path) -> None:
    source = SpokenWords(str(tmp_path), WORDS, 16000, SMALL)
    source.download()
    splits = source.read()
    assert [len(part) for part in splits] == [24, 12, 12]
    timbres = [{clip.variant for clip in source.clips(split)} for split in ("train", "val", "test")]
    assert not timbres[0] & timbres[1]
    assert not timbres[0] & timbres[2]
    assert not timbres[1] & timbres[2]
    stored, _ = splits.test[torch.arange(12)]
    loudness = (stored.double() / FULL_SCALE).square().mean(dim=-1).sqrt()
    assert (loudness > 0.02).all()
    assert (stored.abs().amax(dim=-1) <= FULL_SCALE).all()


def test_the_spoken_words_of_the_task_are_as_many_as_it_says() -> None:
    source: SpokenWords = assemble.build(compose("task=spoken_words").task.source)
    clips = [clip for split in ("train", "val", "test") for clip in source.clips(split)]
    assert len(clips) == len({clip.name for clip in clips}) == 8100
    assert len({(clip.accent, clip.variant) for clip in clips}) == 90


def test_a_missing_synthesiser_and_a_voice_that_is_none_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("espeak-ng"):
        with pytest.raises(DataError, match="espeak-ng cannot say “yes” with the voice xx-none"):
            SpokenWords(str(tmp_path), WORDS, 16000, {**SMALL, "accents": ["xx-none"]}).download()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        DataError, match="espeak-ng, which makes it, is not installed; `sudo apt-get install espeak-ng`"
    ):
        SpokenWords(str(tmp_path / "nothing"), WORDS, 16000, SMALL).download()


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


@pytest.mark.parametrize("query", ["spectrogram", "waveform"])
@pytest.mark.parametrize("code", ["sum", "stack", "linear"])
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


@pytest.mark.parametrize("task", ["speech_commands", "speech_commands_v2"])
def test_speech_commands_run_to_the_exported_bundle(task: str, data_root: Path, tmp_path: Path) -> None:
    overrides = (f"task={task}", f"data.root={data_root}", "model@deployed.model=lenet", "features=log_mel")
    metrics = small_run(tmp_path, *overrides, "trainer.max_epochs=1", "deployed.fit.epochs=1").metrics
    assert metrics["degraded"]["groups"] == len(compose(f"task={task}").task.classes) // 2
    about = load(tmp_path).about
    assert about["preprocessing"]["features"] == "LogMel"
    assert about["shapes"]["query"] == [1, 40, 101]
    assert (tmp_path / "examples.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda clip: clip.write_bytes(b""), "is damaged, or no WAV file"),
        (lambda clip: clip.write_bytes(clip.read_bytes()[:3000]), "is truncated: its header promises 16000 samples"),
        (lambda clip: (clip.parents[1] / "word").mkdir(), "is the folder of a word that is none of task.classes"),
        (lambda clip: (clip.parents[1] / "testing_list.txt").write_text("bed/gone.wav"), "there is no such clip"),
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
    with pytest.raises(ConfigError, match=r"task\.input\.query=song: a query is a spectrogram or a waveform"):
        assemble.build(cfg.task)


def test_waveforms_are_not_laid_beside_one_another(data_root: Path, tmp_path: Path) -> None:
    cfg = compose("task=spoken_words", "task.input.query=waveform", f"data.root={data_root}")
    with pytest.raises(ConfigError, match=r"cannot take a query of shape \[1, 16000\]; code=sum takes any shape"):
        check(cfg, tmp_path)
