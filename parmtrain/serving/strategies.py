"""Ways to spend the same extra resources on slow and lost predictions: codes, and their rivals."""

from collections.abc import Sequence
from dataclasses import dataclass

from parmtrain.errors import ConfigError
from parmtrain.serving.events import Limits
from parmtrain.serving.scheme import Scheme, backed_up, erasure_code, uncoded

NAMES = ("none", "equal", "coded", "replication", "hedged", "backup")


@dataclass(frozen=True)
class Strategy:
    """A way to run a service.

    Args:
        name: What it is called.
        scheme: Who runs what.
        instances: How many of each pool.
        copy_after: When a query is sent once more, as a percentile of the latency of ``equal``; None for never.
        speed: Of each pool's instances, the deployed model's being 1.
    """

    name: str
    scheme: Scheme
    instances: tuple[int, ...]
    copy_after: float | None = None
    speed: tuple[float, ...] = (1.0,)

    def limits(self, base: Limits, after: float | None) -> Limits:
        """Return limits with the time after which a query is sent once more, in seconds."""
        return base if after is None else Limits(**{**vars(base), "copy_after": after})


def strategies(
    names: Sequence[str], instances: int, k: int, r: int, backup_speed: float = 5.0, hedge: float = 95.0
) -> list[Strategy]:
    """Return strategies that all use ``instances`` + r·``instances``/k instances, but for ``none``.

    Args:
        names: Of ``NAMES``: ``none`` has no redundancy and no more instances; ``equal`` has the extra ones as further
            deployed ones; ``coded`` as parity instances; ``replication`` sends each query twice; ``hedged`` once more
            where it is late; ``backup`` has them run a cheaper model on every query.
        instances: Of the deployed model, m.
        k: Queries in a coding group.
        r: Parity models.
        backup_speed: How many times as fast as the deployed model the cheaper one is.
        hedge: Percentile of latency behind which a query is sent once more.

    Raises:
        ConfigError: If a name is none of these, or m/k is no whole number.

    Example:
        >>> [(one.name, one.instances) for one in strategies(["equal", "coded"], instances=12, k=3, r=2)]
        [('equal', (20,)), ('coded k=3 r=2', (12, 4, 4))]
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError([f"strategies: there is no {', '.join(unknown)}; there are {', '.join(NAMES)}"])
    if instances < 1 or k < 2 or r < 1 or instances % k:
        raise ConfigError(
            [f"instances={instances}, k={k}, r={r}: whole groups of k ≥ 2 instances, and r ≥ 1, are right"]
        )
    extra = instances // k
    more = instances + r * extra
    every = {
        "none": Strategy("none", uncoded(), (instances,)),
        "equal": Strategy("equal", uncoded(), (more,)),
        "coded": Strategy(f"coded k={k} r={r}", erasure_code(k, r), (instances, *[extra] * r)),
        "replication": Strategy("replication", uncoded(), (more,), copy_after=0.0),
        "hedged": Strategy("hedged", uncoded(), (more,), copy_after=hedge),
        "backup": Strategy("backup", backed_up(), (instances, r * extra), speed=(1.0, backup_speed)),
    }
    return [every[name] for name in names]
