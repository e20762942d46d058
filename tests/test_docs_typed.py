"""Every command of the tutorial and of the how-to pages is typed, as a reader would, with trainings cut short."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.test_docs import BLOCK, HERE, commands

PAGES = [HERE / "docs" / "tutorial.md", *sorted((HERE / "docs" / "how_to").glob("*.md"))]
PORTS = ("8000", "8080", "9001", "9002", "9003")
KILLED = "timeout --signal=KILL 15 "
SHORT = {"trainer.max_epochs": "2", "deployed.fit.epochs": "4"}
STANDS_IN = f"""#!{sys.executable}
import os, sys
given = [os.path.expandvars(one) for one in sys.argv[1:]]
if given and ("=" in given[0] or given[0] in ("-m", "train")):
    short = {SHORT!r} | ({{"hydra.sweeper.n_trials": "2"}} if any("hparams_search" in one for one in given) else {{}})
    given += [f"{{key}}={{value}}" for key, value in short.items() if not any(one.startswith(key) for one in given)]
os.execv(sys.executable, [sys.executable, "-m", "parmtrain", *given])
"""


def free_ports() -> dict[str, str]:
    """Return a free port in place of each that the pages name."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    free = {port: str(one.getsockname()[1]) for port, one in zip(PORTS, held, strict=True)}
    for one in held:
        one.close()
    return free


def lines_of(page: Path) -> Iterator[str]:
    """Yield the shell lines and the Python blocks of a page, in order, with free ports."""
    text = page.read_text()
    for port, free in free_ports().items():
        text = re.sub(rf"\b{port}\b", free, text)
        if port == "8000":
            front = f"port={free} "
        elif port == "8080":
            front += f"metrics_port={free}"
    for found in BLOCK.finditer(text):
        if found["language"] == "python":
            yield "python - <<'SNIPPET'\n" + found["text"] + "SNIPPET\n"
        elif found["language"] == "sh":
            for line in found["text"].replace("\\\n", " ").splitlines():
                own = "--instance" in line or not line.startswith("parmtrain serve")
                yield line.replace("trainer.max_epochs=200", "trainer.max_epochs=40") if own else f"{line} {front}"


def answers(url: str) -> bool:
    """Return whether a server says that it is ready."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def serving(line: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Start what a line serves, wait until it is ready, and stop it with Ctrl-C in the end."""
    port = re.findall(r"port=(\d+)", line)[-1]
    with open(folder / "served.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(f"exec {line}", shell=True, cwd=folder, env=environment, stderr=log, stdout=log)
        try:
            deadline = time.monotonic() + 120
            while not answers(f"http://127.0.0.1:{port}/v2/health/ready"):
                said = (folder / "served.log").read_text()
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.2)
            yield
        finally:
            process.send_signal(2)
            process.wait(60)


@pytest.mark.thorough
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_to_type_works(page: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "parmtrain").write_text(STANDS_IN)
    (tmp_path / "bin" / "parmtrain").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(HERE), "WANDB_MODE": "offline"}
    assert commands(page)
    typed(list(lines_of(page)), tmp_path, environment)


def typed(lines: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Type lines; what serves goes on until the last line has ended."""
    if not lines:
        return
    first, *others = lines
    if first.startswith("parmtrain serve"):
        with serving(first, folder, environment):
            typed(others, folder, environment)
        return
    if first.startswith(KILLED):
        killed_in_training(first.removeprefix(KILLED).removesuffix(" || true"), folder, environment)
        said = printed(others[0], folder, environment)
        assert "resuming the unfinished run" in said
        others = others[1:]
    else:
        printed(first, folder, environment)
    typed(others, folder, environment)


def killed_in_training(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Type a line that trains, and kill it once there is a state to resume."""
    with subprocess.Popen(
        f"exec {line}", shell=True, cwd=folder, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while not list(folder.glob("runs/*/checkpoints/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()


def printed(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Type a line that ends, and return what it printed."""
    ended = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout + ended.stderr
