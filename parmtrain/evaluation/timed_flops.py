"""The arithmetic of a deployed model that cannot be counted, estimated from the time it takes."""

import json
from pathlib import Path

import torch

from parmtrain.cache import key_of
from parmtrain.deployed import DeployedModel
from parmtrain.evaluation.costs import microseconds
from parmtrain.files import write_json
from parmtrain.flops import flops
from parmtrain.models.students import ConvStudent
from parmtrain.probes import answers

REFERENCE = (3, 32, 32)


def timed_flops(deployed: DeployedModel, query_shape: tuple[int, ...], cache: Path | None = None) -> int:
    """Return how many FLOPs a student takes in the time of one query of a deployed model.

    Both run one query at a time on the CPU, by turns. The number is kept in the cache, so that a later run, or one that
    resumes, builds students of the same size.

    Args:
        deployed: The deployed model.
        query_shape: Shape of its queries.
        cache: Folder of the cache; None keeps nothing.
    """
    name = f"{key_of([deployed.fingerprint, answers(deployed, query_shape)])}.json"
    kept = None if cache is None else cache / "timed" / name
    known = None if kept is None else _read(kept)
    if known is not None:
        return known
    student = ConvStudent(REFERENCE, 10).eval()
    query, example = torch.zeros(1, *query_shape), torch.zeros(1, *REFERENCE)
    with torch.no_grad():
        theirs, ours = microseconds(lambda: deployed(query), lambda: student(example))
    number = max(1, round(flops(student, example) * theirs / ours))
    if kept is not None:
        write_json(kept, {"flops": number, "microseconds": theirs})
    return number


def _read(path: Path) -> int | None:
    """Return a number of the cache; None if it is not there or damaged."""
    try:
        number = json.loads(path.read_text(encoding="utf-8"))["flops"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and number > 0 else None
