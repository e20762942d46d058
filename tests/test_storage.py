"""Disks that are full, files that are cut off or changed, and processes that are killed lose nothing but time."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from parmtrain.cache import cached_array, intact_array, write_array
from parmtrain.command import sentence_of
from parmtrain.errors import StorageError
from parmtrain.evaluate import evaluate
from parmtrain.files import replacing, write_text
from parmtrain.result import Result
from parmtrain.run_folder import RunFolder
from tests.small_runs import figures, small_run

pytestmark = pytest.mark.slow

KIB, GROWTH = 1024, 2.5


def can_mount() -> bool:
    """Whether this process may mount a small disk in memory."""
    return os.getuid() == 0 and shutil.which("mount") is not None


def options(size: int) -> str:
    """Return the mount options of a small disk: a file for each KiB, and two for its folders."""
    return f"size={size},nr_inodes={size // KIB + 2}"


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a disk of ``size`` bytes, and few files, at a folder."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options(size), "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


needs_a_disk = pytest.mark.skipif(not can_mount(), reason="only root may mount a small disk")


@needs_a_disk
@pytest.mark.thorough
@pytest.mark.parametrize("full", ["run", "cache", "temporary files"])
def test_a_full_disk_is_named_and_once_there_is_space_the_same_command_goes_on(
    full: str, finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails at every write in turn: each attempt has a little more space than the one before."""
    attempts, said = 0, list[str]()
    with disk(tmp_path / "disk", KIB):
        place = tmp_path / "disk" / "there"
        folders = {"run": tmp_path / "run", "cache": tmp_path / "cache", "temporary files": tmp_path / "temporary"}
        folders[full] = place
        folders["temporary files"].mkdir(exist_ok=True)
        monkeypatch.setenv("PARMTRAIN_CACHE", str(folders["cache"]))
        monkeypatch.setattr("tempfile.tempdir", str(folders["temporary files"]))
        while True:
            size = int(KIB * GROWTH**attempts)
            subprocess.run(["mount", "-o", f"remount,{options(size)}", str(tmp_path / "disk")], check=True)
            try:
                result = small_run(folders["run"])
                break
            except StorageError as fault:
                said.append(str(fault))
            last = folders["run"] / "checkpoints" / "last.ckpt"
            if last.exists():
                torch.load(last, weights_only=True)  # the last good one
            attempts += 1
            assert attempts < 20
        assert figures(result) == figures(finished)
    assert attempts >= 1
    assert all(f"no space is left on the disk of {place}" in sentence for sentence in said), said


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def half() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match=r"no space is left on the disk of .*, which takes a\.txt"):
        half()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_files_that_cannot_be_read_are_told_from_those_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    inside = str(tmp_path / "file" / "run")
    assert "cannot be written: " in sentence_of(NotADirectoryError(errno.ENOTDIR, "Not a directory", inside))
    assert (
        sentence_of(OSError(errno.EIO, "Input/output error")) == "a file cannot be read or written: Input/output error"
    )


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped"])
def test_a_damaged_array_is_set_aside_and_made_anew(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "numbers.npy"
    numbers = torch.arange(6.0).view(3, 2)
    write_array(path, (3, 2), np.float32, [numbers])
    content = path.read_bytes()
    if damage == "swapped":
        write_array(tmp_path / "others.npy", (3, 2), np.float32, [numbers + 1])
        content = (tmp_path / "others.npy").read_bytes()
    path.write_bytes({"cut": content[:-3], "flipped": content[:-2] + b"\x01\x01", "swapped": content}[damage])
    assert torch.equal(cached_array(path, (3, 2), np.float32, [numbers]), numbers)
    assert f"{path} is damaged; it is now numbers.npy.damaged" in caplog.text
    kept = intact_array(path)
    assert kept is not None
    assert torch.equal(kept, numbers)


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_deployed_model_in_the_cache_is_trained_anew(
    damage: str, finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PARMTRAIN_CACHE", str(tmp_path / "cache"))
    small_run(tmp_path / "first", "code=default")
    (weights,) = tmp_path.glob("cache/deployed/*/weights.pt")
    content = weights.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    weights.write_bytes({"cut": content[:-1000], "flipped": flipped, "empty": b""}[damage])
    again = small_run(tmp_path / "second", "code=default")
    assert f"{weights} is damaged; it is now weights.pt.damaged" in caplog.text
    assert again.metrics["deployed"] == finished.metrics["deployed"]


def test_a_run_holds_its_deployed_model_and_nothing_is_trained_to_evaluate_it(
    finished: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(finished.folder, run)
    monkeypatch.setenv("PARMTRAIN_CACHE", str(tmp_path / "cache"))
    assert evaluate(run)["degraded"] == finished.metrics["degraded"]
    assert not (tmp_path / "cache" / "deployed").exists()
    (run / "deployed.pt").unlink()
    assert evaluate(run)["degraded"] == finished.metrics["degraded"]  # with the bundle's own
    assert "deployed.pt or in the cache, got neither" in caplog.text
    given = finished.module.deployed.network
    assert evaluate(run, deployed=given)["degraded"] == finished.metrics["degraded"]


COMMAND = [sys.executable, "-m", "parmtrain", "hydra.run.dir=run", "deployed.fit.epochs=4"]


def started(folder: Path, epochs: int) -> subprocess.Popen[str]:
    """Start a run of some epochs in a folder, with a cache in it."""
    command = [*COMMAND, f"trainer.max_epochs={epochs}"]
    environment = {**os.environ, "PARMTRAIN_CACHE": "cache"}
    out, complaints = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=out, stderr=complaints)


def when_there(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.thorough
def test_killed_at_any_moment_the_same_command_ends_with_the_same_figures(finished: Result, tmp_path: Path) -> None:

    for pattern in (
        "cache/deployed/*/last.ckpt",
        "run/checkpoints/last.ckpt",
        "run/checkpoints/best.ckpt",
        "run/export",
    ):
        process = started(tmp_path, epochs=3)
        when_there(tmp_path, pattern, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = started(tmp_path, epochs=3)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    metrics = RunFolder(tmp_path / "run").read_metrics()
    wanted = figures(finished)
    for key in ("degraded", "all_k", "available", "overall", "stragglers", "deployed", "validation", "seed"):
        assert metrics[key] == wanted[key], key


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])  # Ctrl-C: see the others
def test_every_signal_that_stops_says_how_to_go_on(number: int, status: int, tmp_path: Path) -> None:
    process = started(tmp_path, epochs=4000)
    when_there(tmp_path, "run/checkpoints/best.ckpt", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "resume with: parmtrain" in said
    assert "Traceback" not in said
