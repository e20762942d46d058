"""Clips are read from any WAV format, found in the folders of Speech Commands, and spoken by espeak-ng."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from parmtrain import compose
from parmtrain.config import assemble
from parmtrain.errors import DataError
from parmtrain.tasks.audio import FULL_SCALE, read_clip
from parmtrain.tasks.speech_commands import SpeechCommands, WordFolders
from parmtrain.tasks.spoken_words import SpokenWords
from tests.formats import tone, write_words

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


@pytest.mark.parametrize("subtype", ["GSM610", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"])
def test_compressed_clips_are_read_too(subtype: str, tmp_path: Path) -> None:
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "clip.wav", sound, 8000, subtype=subtype)
    clip = read_clip(tmp_path / "clip.wav", 16000, 16000)
    assert torch.fft.rfft(clip.double()).abs().argmax() == 440


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
    assert "file not found" in sentence("missing.wav")
    assert "is truncated: it must hold 16000 samples (its header), got 4478" in sentence("truncated.wav")
    assert "is damaged or not a WAV file" in sentence("nothing.wav")
    assert "is damaged or not a WAV file" in sentence("text.wav")
    assert "must hold 1 or more samples, got 0" in sentence("empty.wav")
    assert "must hold finite samples, got NaN" in sentence("nan.wav")
    assert "must be a WAV file, got FLAC" in sentence("other.wav")


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
    assert f"{tmp_path}/up must be the folder of one of task.classes: yes, no" in sentence(WORDS[:2])
    listed = (tmp_path / "testing_list.txt").read_text()
    (tmp_path / "testing_list.txt").write_text(listed + "yes/never_nohash_0.wav\n")
    assert "testing_list.txt names yes/never_nohash_0.wav, which is not a clip of one of task.classes" in sentence()
    (tmp_path / "testing_list.txt").write_text(listed + (tmp_path / "validation_list.txt").read_text())
    assert "must be in only one of validation_list.txt and testing_list.txt" in sentence()
    (tmp_path / "testing_list.txt").write_text("")
    assert f"{tmp_path} must hold 1 or more clips for the test split, got 0" in sentence()


@pytest.mark.parametrize("place", ["SpeechCommands/speech_commands_v0.02", "speech_commands_v0.02", "."])
def test_speech_commands_is_found_where_torchaudio_puts_it_or_by_itself(place: str, tmp_path: Path) -> None:
    write_words(tmp_path / place, WORDS, train=1, held=1)
    SpeechCommands(str(tmp_path), "0.02", WORDS, 16000).locate()


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
    }


@pytest.mark.slow
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
    with pytest.raises(DataError, match="spoken_words is incomplete: found 46 clips"):
        again.locate()
    again.download()
    assert digests(again.folder) == made
    other = SpokenWords(str(tmp_path / "c"), WORDS, 16000, {**SMALL, "seed": 1})
    other.download()
    differing = [name for name, digest in digests(other.folder).items() if made[name] != digest]
    assert len(differing) == 48 + 1  # every clip, and the recipe
    with pytest.raises(DataError, match=r"was generated by another recipe \(different seed\)"):
        SpokenWords(str(tmp_path / "a"), WORDS, 16000, {**SMALL, "seed": 1}).locate()


@pytest.mark.slow
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
        DataError, match="espeak-ng, which generates it, is not installed; on Debian, run `sudo apt-get"
    ):
        SpokenWords(str(tmp_path / "nothing"), WORDS, 16000, SMALL).download()
