"""What a search over configurations makes large or small: figures of a finished run, none of the test split."""

from collections.abc import Mapping, Sequence
from typing import Any

DEGRADED = "degraded"
COSTS = ("extra_workers", "parity_bytes", "parity_flops", "parity_memory", "encoder_flops")
OBJECTIVES = (DEGRADED, *COSTS)


def objectives(metrics: Mapping[str, Any], names: Sequence[str]) -> float | tuple[float, ...] | None:
    """Return the figures that a search looks at: one number for one name, else one for each.

    Args:
        metrics: Content of a run's ``metrics.json``.
        names: From ``OBJECTIVES``: ``degraded``, which is A_d on the validation split, or costs of a group.

    Returns:
        The figures; None if the run does not have one of them.

    Example:
        >>> metrics = {"measure": "iou", "validation": {"degraded_iou": 0.7}, "cost": {"extra_workers": 0.5}}
        >>> objectives(metrics, ["degraded"]), objectives(metrics, ["degraded", "extra_workers"])
        (0.7, (0.7, 0.5))
    """
    validated = (metrics.get("validation") or {}).get(f"degraded_{metrics['measure']}")
    known = {DEGRADED: validated, **{name: metrics["cost"].get(name) for name in COSTS}}
    found = tuple(known[name] for name in names)
    if None in found:
        return None
    return found[0] if len(found) == 1 else found
