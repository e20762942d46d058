"""The ends of the command that serves on Ray: asked for at any second, or since Ray has died. Nothing may be left."""

import os
import shutil
import signal
import time
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from parmtrain.result import Result
from tests.ray_command import Command, on_ray
from tests.servers import worker_number

pytest.importorskip("ray", reason="serving needs Ray: pip install 'parmtrain[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
ASKED = {signal.SIGINT: (130,), signal.SIGTERM: (143, -signal.SIGTERM)}  # -15 where Python has just started
PORT = 8321 + 200 * worker_number()


@pytest.mark.parametrize("number", ASKED, ids=lambda number: number.name)
@pytest.mark.parametrize(
    "seconds", [0.5, *(pytest.param(one, marks=pytest.mark.thorough) for one in (2.0, 5.0, 9.0, 14.0))]
)
def test_a_signal_while_it_starts_ends_all(number: int, seconds: float, finished: Result, tmp_path: Path) -> None:
    with on_ray(tmp_path, PORT, f"bundle={finished.folder}") as command:
        time.sleep(seconds)
        command.process.send_signal(number)
        assert command.process.wait(60) in ASKED[signal.Signals(number)], command.said
        command.assert_nothing_left()
        assert command.said == ""


@pytest.mark.thorough
@pytest.mark.parametrize("to_all", [False, True], ids=["", "to all in the terminal"])
@pytest.mark.parametrize("pattern", ["gcs_server", "raylet/raylet", "ray::ServeController", "ray::Worker"])
def test_ctrl_c_at_each_stage_of_ray_ends_all(pattern: str, to_all: bool, finished: Result, tmp_path: Path) -> None:
    with on_ray(tmp_path, PORT + 10, f"bundle={finished.folder}") as command:
        command.wait_for(lambda: command.running(pattern))
        (os.killpg if to_all else os.kill)(command.process.pid, signal.SIGINT)
        assert command.process.wait(60) == 130
        command.assert_nothing_left()
        assert command.said == ""


@pytest.mark.thorough
@pytest.mark.parametrize(("pattern", "name"), [("raylet/raylet", "its raylet"), ("gcs_server", "(GCS)")])
def test_ray_that_dies_ends_the_command_with_a_sentence(
    pattern: str, name: str, finished: Result, tmp_path: Path
) -> None:
    with on_ray(tmp_path, PORT + 20, f"bundle={finished.folder}") as command:
        command.wait_until_ready()
        before = command.said
        (one,) = command.running(pattern + r"\b")
        os.kill(one, signal.SIGKILL)
        assert command.process.wait(60) == 1
        command.assert_nothing_left()
        sentence = command.said.removeprefix(before)
        assert sentence.startswith("Ray has died: ")
        assert name in sentence
        assert len(sentence.splitlines()) == 1


def answers(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def another(command: Command, pattern: str, killed: set[int]) -> bool:
    return bool(command.running(pattern) - killed)


@pytest.mark.thorough
def test_what_ray_mends_does_not_end_the_command(finished: Result, tmp_path: Path) -> None:
    port = PORT + 50
    with on_ray(tmp_path, port, f"bundle={finished.folder}") as command:
        command.wait_until_ready()
        before = command.said
        for pattern in ("^ray::ProxyActor", "^ray::ServeController"):
            killed, since = command.running(pattern), time.monotonic()
            for one in killed:
                os.kill(one, signal.SIGKILL)
            command.wait_for(partial(another, command, pattern, killed), 100)
            command.wait_for(lambda: answers(port), 100)
            print(pattern, f"answers {time.monotonic() - since:.1f} s later")
        assert command.said == before
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(60) == 0
        command.assert_nothing_left()


@pytest.mark.thorough
def test_a_command_that_is_killed_takes_ray_with_it(finished: Result, tmp_path: Path) -> None:
    with on_ray(tmp_path, PORT + 30, f"bundle={finished.folder}") as command:
        command.wait_until_ready()
        command.process.kill()
        command.process.wait(10)
        command.assert_nothing_left(60)  # it still answers what is in flight


@pytest.mark.thorough
def test_a_frontend_that_cannot_start_is_one_sentence(finished: Result, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    with on_ray(tmp_path, PORT + 40, f"bundle={tmp_path / 'run'}") as command:
        command.wait_for(lambda: command.running("gcs_server"))  # it has read the bundle
        (tmp_path / "run" / "export" / "encoder.ts").unlink()
        assert command.process.wait(300) == 1
        command.assert_nothing_left()
        assert command.said.startswith("Ray did not start the service: ")
        assert "encoder.ts" in command.said
        assert len(command.said.splitlines()) == 1
