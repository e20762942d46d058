"""The command line as a user meets it: in a process of its own, in another folder."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from parmtrain import __version__, evaluate
from tests.formats import write_arrays
from tests.mistakes.rows import MAINS, MODULES

pytestmark = pytest.mark.slow

SHORT = ("trainer.max_epochs=2", "deployed.fit.epochs=4")


def parmtrain(folder: Path, *arguments: str, module: str = "parmtrain") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def refused(folder: Path, *arguments: str) -> str:
    """Return the sentence that a faulty command line ends with, having left nothing behind."""
    ended = parmtrain(folder, *arguments)
    assert ended.returncode == 1, ended.stderr
    return left_nothing(folder, ended.stdout, ended.stderr)


def left_nothing(folder: Path, said: str, complained: str) -> str:
    assert "Traceback" not in complained + said
    assert not list(folder.rglob("metrics.json"))
    return complained


def test_help_waits_for_no_pytorch(tmp_path: Path) -> None:
    script = (
        "import sys, parmtrain.__main__ as m; sys.argv[1:] = ['--help']; m.main(); sys.exit('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "cifar10" in ended.stdout


def test_the_default_run_from_another_folder(tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, *SHORT)
    assert ended.returncode == 0, ended.stderr
    assert "degraded A_d: reconstructed predictions" in ended.stdout
    before_training = ended.stderr.index("available accuracy A_a")
    assert before_training < ended.stderr.index("start from the deployed model's weights")
    (metrics,) = tmp_path.glob("runs/digits-sum-k2/*/metrics.json")
    again = parmtrain(tmp_path, str(metrics.parent), module="parmtrain.evaluate")
    assert again.returncode == 0, again.stderr
    table = [line for line in ended.stdout.splitlines() if "degraded A_d" in line]
    assert table == [line for line in again.stdout.splitlines() if "degraded A_d" in line]


@pytest.mark.thorough
def test_the_headline_command_on_cifar10s_own_format(data_root: Path, tmp_path: Path) -> None:
    small = (f"data.root={data_root}", "task.source.validation=20", "deployed.fit.epochs=1", "trainer.max_epochs=1")
    ended = parmtrain(tmp_path, "task=cifar10", "k=2", *small)
    assert ended.returncode == 0, ended.stderr
    assert "deployed.path is not set; training one and saving it in" in ended.stderr
    assert "62 of 62 tensors start from the deployed model's weights" in ended.stderr
    (folder,) = tmp_path.glob("runs/cifar10-lowres_own-k2/*")
    assert (folder / "export" / "parity_model.ts").is_file()


def test_evaluating_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(tmp_path)]) == 1
    sentence = f"{tmp_path} must be the folder of a run, but {tmp_path}/config.yaml does not exist\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.thorough
def test_a_multirun_does_each_combination_and_tells_of_those_it_cannot(tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, "-m", "k=2,27", "code=sum,concat", "hydra.sweep.dir=sweep", *SHORT)
    assert ended.returncode == 1
    assert "code=concat with k=27 needs images of 3×9 pixels or more, got 8×8" in ended.stderr
    assert "Traceback" not in ended.stderr
    finished = {path.parent.name for path in tmp_path.glob("sweep/*/metrics.json")}
    assert finished == {"0-digits-sum-k2-seed0", "1-digits-concat-k2-seed0", "2-digits-sum-k27-seed0"}


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs, which is to have them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped_at(folder: Path, pattern: str, *arguments: str) -> list[str]:
    """Press Ctrl-C once a run has written a file; return the arguments that it says to resume with."""
    process = subprocess.Popen(
        [sys.executable, "-m", "parmtrain", "hydra.run.dir=run", *arguments],
        cwd=folder,
        env={**os.environ, "PARMTRAIN_CACHE": "cache"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509
    )
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    found = re.search(r"resume with: (.*)", said)
    assert found is not None
    command, *words = shlex.split(found.group(1))
    assert command == "parmtrain"
    return words


@pytest.mark.thorough
def test_ctrl_c_while_the_deployed_model_is_trained_says_how_to_go_on_in_the_same_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = stopped_at(tmp_path, "cache/deployed/*/last.ckpt", "deployed.fit.epochs=4000")
    assert sorted(arguments) == ["deployed.fit.epochs=4000", f"hydra.run.dir={tmp_path}/run"]
    assert evaluate.main([str(tmp_path / "run")]) == 1
    assert "run holds an unfinished run; finish it first" in capsys.readouterr().err


@pytest.mark.thorough
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    short = ("trainer.max_epochs=400", "deployed.fit.epochs=4")
    arguments = stopped_at(tmp_path, "run/checkpoints/best.ckpt", *short)
    assert any(argument.endswith("checkpoints/last.ckpt") for argument in arguments)
    other = [argument for argument in arguments if not argument.startswith("ckpt_path")]
    assert "holds an unfinished run with seed=0, not seed=1" in refused(tmp_path, *other, "seed=1")
    command = [sys.executable, "-m", "parmtrain", *arguments]
    own = {**os.environ, "PARMTRAIN_CACHE": "cache"}
    process = subprocess.Popen(command, cwd=tmp_path, env=own, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns
    while last.stat().st_mtime_ns == before:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=60)
    assert os.path.getsize(last) > 0


@pytest.mark.parametrize("command", ["run", "evaluate", "compare", "simulate", "advise", "serve"])
def test_every_command_has_parmtrains_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        MAINS[command](["--version"])
    assert capsys.readouterr().out == f"parmtrain {__version__}\n"


UNREAD = [*((name, "--help") for name in MAINS), ("run", "--version"), ("simulate", "queries=200")]


def unread(folder: Path, command: str, *arguments: str, buffered: bool = True) -> tuple[int, str]:
    """Run a command whose output nobody reads; return its exit status and what it said on standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", MODULES[command], *arguments]
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    ended = subprocess.run(
        line, cwd=folder, env=env, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writing)
    return ended.returncode, ended.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(("command", "argument"), UNREAD, ids=" ".join)
def test_a_command_whose_output_nobody_reads_ends_without_a_word(command: str, argument: str, tmp_path: Path) -> None:
    assert unread(tmp_path, command, argument) == (141, "")


@pytest.mark.thorough
@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
def test_runs_whose_output_nobody_reads_end_once_one_is_written(buffered: bool, tmp_path: Path) -> None:
    quick = ("code=default", "seed=0,1", "deployed.fit.epochs=4", "hydra.sweep.dir=sweep")
    status, said = unread(tmp_path, "run", "-m", *quick, buffered=buffered)
    assert status == 141
    assert "rror" not in said
    assert [path.parent.name for path in tmp_path.glob("sweep/*/metrics.json")] == ["0-digits-default-k2-seed0"]


def test_an_output_in_a_pipe_has_no_empty_line(tmp_path: Path) -> None:
    ended = parmtrain(tmp_path, "queries=200", module="parmtrain.simulate")
    assert "\n\n" not in f"\n{ended.stdout}"


@pytest.mark.thorough
def test_a_path_of_any_letters_works_in_quotes_and_options_stand_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    odd = tmp_path / "a=b#c{d} é"
    odd.mkdir()
    write_arrays(odd, 12)
    (tmp_path / "mine").mkdir()
    place = ("task=arrays", f'data.root="{odd}"', "code=default", "deployed.fit.epochs=1")
    assert MAINS["run"]([place[0], "--config-dir", "mine", *place[1:], "hydra.run.dir='run=1'"]) == 0
    assert (tmp_path / "run=1" / "metrics.json").exists()
    assert MAINS["evaluate"](["run=1", "--data-root", str(odd)]) == 0
    study = [place[0], "--folder", "study=1", *place[1:3], "-m", place[3], "k=2,3"]
    assert MAINS["compare"](study) == 0
    assert (tmp_path / "study=1" / "table.csv").exists()
