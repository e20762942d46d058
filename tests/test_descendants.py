"""No process that a block has started outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiers import thorough

SCRIPT = """
import os, subprocess, sys
from parmtrain.serving.process.descendants import none_left

with none_left():
    subprocess.run(["sh", "-c", "sleep 300 & echo $!"], check=True)  # its parent ends before it
    subprocess.Popen(["sh", "-c", "trap '' TERM INT; echo $$; while true; do sleep 1; done"])
    os.write(1, b"%d\\n" % os.getpid())  # at once, whatever the others print
    {end}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize("end", ["", thorough("raise KeyboardInterrupt"), thorough("sys.exit(3)")])
def test_orphans_and_the_deaf_end_with_a_block(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end="import time; time.sleep(1); " + end)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    started = [int(line) for line in ended.stdout.split()]
    assert len(started) == 3, ended.stderr
    time.sleep(0.1)
    assert not [one for one in started if Path(f"/proc/{one}").exists()]


ORPHAN = """
import os, signal, time
from multiprocessing import get_context
from parmtrain.serving.process.descendants import stop_with_parent

def start_late(parent):
    while os.getppid() == parent:
        time.sleep(0.01)
    os.write(1, b"began")
    stop_with_parent()
    os.write(1, b", survived")

if __name__ == "__main__":
    get_context("spawn").Process(target=start_late, args=(os.getpid(),)).start()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_whose_parent_has_ended_before_its_first_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "orphan.py"
    path.write_text(ORPHAN)
    ended = subprocess.run([sys.executable, str(path)], capture_output=True, timeout=60, check=False)
    assert ended.stdout == b"began"
