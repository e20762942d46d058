"""Which code is best within a budget of extra resources, chosen by validation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any

from parmtrain.settings import read_settings, require_valid, setting

PREFIX = "budget."


@dataclass
class Budget:
    """The most that one coding group may take beyond k runs of the deployed model."""

    flops: float = setting(
        1.05, "extra FLOPs of a group ÷ those of one run of the deployed model", least=0, infinite=True
    )
    bytes: float = setting(1.0, "bytes of a group's coded queries ÷ those of one query", least=0, infinite=True)
    dispatches: float = setting(1.0, "coded queries of a group, each one dispatch", least=0, infinite=True)

    def allows(self, row: dict[str, Any]) -> bool:
        """Return whether a row of the table is within the budget; a cost that is not known is within no limit."""
        cost, limits = cost_of(row), {one.name: getattr(self, one.name) for one in fields(self)}
        return all(
            limit == inf or (cost[name] is not None and _as_shown(cost[name]) <= limit)
            for name, limit in limits.items()
        )

    def __str__(self) -> str:
        return " ".join(f"{PREFIX}{one.name}={getattr(self, one.name):g}" for one in fields(self))


def cost_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what one group of a row of the table takes, by the names of the budget; None where it is unknown.

    Example:
        >>> cost_of({"k": 2, "r": 1, "parity_flops": 0.5, "encoder_flops": 0.01, "parity_bytes": 1.0})
        {'flops': 0.51, 'bytes': 1.0, 'dispatches': 1}
    """
    known = row["parity_flops"] is not None and row["encoder_flops"] is not None
    flops = row["parity_flops"] + row["encoder_flops"] if known else None
    return {"flops": flops, "bytes": row["parity_bytes"], "dispatches": row["r"]}


def read_budget(overrides: Sequence[str]) -> tuple[Budget, list[str]]:
    """Return the budget that overrides such as ``budget.flops=0.5`` set, and the other overrides.

    Raises:
        ConfigError: If one is unknown, set twice, or out of its bounds.

    Example:
        >>> read_budget(["k=2", "budget.bytes=2"])
        (Budget(flops=1.05, bytes=2.0, dispatches=1.0), ['k=2'])
    """
    ours = [one.removeprefix(PREFIX) for one in overrides if one.startswith(PREFIX)]
    budget = read_settings(Budget, ours)
    require_valid(budget)
    return budget, [one for one in overrides if not one.startswith(PREFIX)]


def best(rows: Iterable[dict[str, Any]], budget: Budget) -> list[dict[str, Any]]:
    """Return, for each k and deployed model, the row within the budget with the best A_d on the validation split.

    Codes that are not systematic are no candidates: with them, every prediction is a reconstruction, also where nobody
    is late.
    """
    chosen: dict[tuple[int, float], dict[str, Any]] = {}
    for row in rows:
        if row["late"] == 1 and row["validation"] is not None and row["systematic"] and budget.allows(row):
            question = row["k"], row["available"]
            if question not in chosen or row["validation"] > chosen[question]["validation"]:
                chosen[question] = row
    return [chosen[question] for question in sorted(chosen)]


def _as_shown(cost: float) -> float:
    """Return a cost as the table rounds it, so that what looks alike there is alike."""
    return round(cost, 2)


def front(rows: Sequence[dict[str, Any]], resource: str) -> list[dict[str, Any]]:
    """Return the rows that none beats or equals in A_d for as much of a resource or less, as the table rounds it.

    Args:
        rows: Rows of one k.
        resource: ``flops``, ``bytes`` or ``dispatches``.
    """
    known = [row for row in rows if cost_of(row)[resource] is not None]
    kept: list[dict[str, Any]] = []
    for row in sorted(known, key=lambda row: (_as_shown(cost_of(row)[resource]), -row["degraded"])):
        if not kept or row["degraded"] > kept[-1]["degraded"]:
            kept.append(row)
    return kept
