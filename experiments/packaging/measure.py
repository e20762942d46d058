"""What a version of parmtrain weighs and how soon it answers, beside another version in the same run.

    python experiments/packaging/measure.py NOW=. BEFORE=../parmtrain-at-another-commit

For each named folder, a clone at some commit: sizes of its wheel and of its source archive, and the medians of seven
times, in seconds, of a new process, taken in turn for all versions: ``import parmtrain``, the help of the command line,
the configuration of a run, and importing what trains, what an instance is and what a front is.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = 7
PROGRAMS = {
    "import parmtrain": "import parmtrain",
    "help": "import parmtrain.__main__ as m; m.main(['--help'])",
    "composing a run": "import parmtrain; parmtrain.compose('task=digits')",
    "importing torch": "import torch",
    "importing what trains": "import parmtrain.runs",
    "importing what an instance is": "import parmtrain.serving.instances.model_server",
    "importing what a front is": "import parmtrain.serving.front.standalone",
}


def built(folder: Path) -> dict[str, int]:
    """Return the bytes of the wheel and of the source archive of a version."""
    sizes = {}
    for hook in ("wheel", "sdist"):
        with tempfile.TemporaryDirectory() as out:
            program = f"from setuptools import build_meta; build_meta.build_{hook}({out!r})"
            subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True)
            (file,) = Path(out).iterdir()
            sizes[hook] = file.stat().st_size
    return sizes


def seconds(program: str, folder: Path) -> float | None:
    """Return the seconds of a new process that imports a version from its folder; None if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    begun = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, cwd="/", capture_output=True, check=False
    )
    return time.perf_counter() - begun if ended.returncode == 0 else None


def main() -> None:
    """Measure the versions that the command line names, and print one table."""
    versions = {name: Path(path).resolve() for name, path in (one.split("=", 1) for one in sys.argv[1:])}
    if not versions:
        sys.exit(__doc__)
    print("| | " + " | ".join(versions) + " |")
    print("|---" * (len(versions) + 1) + "|")
    sizes = {name: built(folder) for name, folder in versions.items()}
    for hook, title in (("wheel", "wheel, MiB"), ("sdist", "source archive, MiB")):
        print(f"| {title} | " + " | ".join(f"{sizes[name][hook] / 2**20:.2f}" for name in versions) + " |")
    for title, program in PROGRAMS.items():
        taken: dict[str, list[float | None]] = {name: [] for name in versions}
        for _ in range(TIMES + 1):
            for name, folder in versions.items():
                taken[name].append(seconds(program, folder))
        cells = []
        for every in taken.values():
            known = [one for one in every[1:] if one is not None]  # the first fills the caches of files
            cells.append(f"{statistics.median(known):.2f}" if known else "no such module")
        print(f"| {title}, s | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
