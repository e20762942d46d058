"""Kill runs and comparisons at random moments, start the same command again, and compare what they write.

``python experiments/robustness/kills.py [kills] [folder]``: the table says in which phase each process was killed, with
kill -9, and whether its ``metrics.json`` is that of a run that nobody killed, but for the clock.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

RUN = ("parmtrain", "hydra.run.dir=run", "trainer.max_epochs=25", "deployed.fit.epochs=12", "code=sum_corrected")
COMPARE = ("parmtrain.compare", "code=sum,berrut_b", *RUN[2:4], "--folder=study")
MARKS = ("cache/deployed/*/last.ckpt", "**/checkpoints/last.ckpt", "**/deployed.pt", "**/.export.*", "**/export")
"""Files that mark where training F, training parity models, exporting, and what follows it begin."""
CLOCK = ("timing", "versions")


def start(command: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in a folder, with a cache in it."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PARMTRAIN_CACHE": "cache", "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment, **quiet)


def figures(folder: Path) -> dict[str, Any]:
    """Return every figure that does not depend on the clock, of all runs in a folder."""
    found = {}
    for path in sorted(folder.glob("**/metrics.json")):
        metrics = {key: value for key, value in json.loads(path.read_text()).items() if key not in CLOCK}
        metrics["training"] = metrics["training"]["epochs"]
        found[path.relative_to(folder).as_posix()] = metrics
    return found


def phase(folder: Path) -> str:
    """Return what a process was doing when it was killed, judging by its files."""
    if list(folder.glob("**/metrics.json")) and not list(folder.glob("study")):
        return "finished"
    if not list(folder.glob("cache/deployed/*/weights.pt")):
        return "training F" if list(folder.glob("cache/deployed/*/*.ckpt")) else "before training F"
    if list(folder.glob("**/export/bundle.json")):
        return "timing and plotting, after the export"
    if list(folder.glob("**/deployed.pt")):
        return "exporting"
    if list(folder.glob("cache/predictions/*.npy")) and len(list(folder.glob("cache/predictions/*.npy"))) > 2:
        return "evaluating"
    return "training parity models" if list(folder.glob("**/best.ckpt")) else "before training parity models"


def there(folder: Path, mark: str) -> bool:
    """Return whether a file is there, in a folder whose files come and go."""
    with suppress(FileNotFoundError):
        return bool(list(folder.glob(mark)))
    return False


def kill_at_random(process: subprocess.Popen[bytes], folder: Path, mark: str, later: float) -> None:
    """Kill a process some time after it has written a file, unless it ends before."""
    while process.poll() is None and not there(folder, mark):
        time.sleep(0.002)
    with suppress(subprocess.TimeoutExpired):
        process.wait(later)
    process.kill()
    process.wait()


def main(kills: int, folder: Path) -> None:
    """Kill some processes of each command, and print one table."""
    draw = random.Random(0)
    rows: Counter[tuple[str, str, str]] = Counter()
    for command in (RUN, COMPARE):
        reference, begun = folder / command[0] / "reference", time.monotonic()
        assert start(command, reference).wait() == 0
        seconds = time.monotonic() - begun
        wanted = figures(reference)
        for number in range(kills if command is RUN else kills // 4):
            here = folder / command[0] / str(number)
            process = start(command, here)
            kill_at_random(process, here, MARKS[number % len(MARKS)], draw.uniform(0, seconds / 8))
            when = phase(here)
            status = start(command, here).wait()
            refused = status == 1 and when == "finished"  # a finished run is not replaced
            same = "the same" if (status == 0 or refused) and figures(here) == wanted else f"differs ({status})"
            rows[command[0], when, same] += 1
            print(f"{command[0]} {number}: {when}: {same}", flush=True)
    for (name, when, same), count in sorted(rows.items()):
        print(f"| {name} | {when} | {count} | {same} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20, Path(sys.argv[2] if sys.argv[2:] else "kills"))
