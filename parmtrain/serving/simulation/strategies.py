"""Strategies against slow and lost predictions with the same extra resources: codes and their rivals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from parmtrain.codes.scheme import Scheme, backed_up, erasure_code, heads_code, uncoded
from parmtrain.errors import ConfigError
from parmtrain.serving.frontend.events import Limits

NAMES = ("none", "equal", "coded", "heads", "replication", "hedged", "backup")


@dataclass(frozen=True)
class Strategy:
    """A way to run a service.

    Args:
        name: Its name.
        scheme: Which worker runs what.
        instances: Number of instances of each pool.
        copy_after: When a query is sent again, as a percentile of the latency of ``equal``; None for never.
        speed: Speed of each pool's instances relative to the deployed model's.
    """

    name: str
    scheme: Scheme
    instances: tuple[int, ...]
    copy_after: float | None = None
    speed: tuple[float, ...] = (1.0,)

    def limits(self, base: Limits, after: float | None) -> Limits:
        """Return limits with ``copy_after`` set to ``after`` seconds; None leaves them unchanged."""
        return base if after is None else replace(base, copy_after=after)


def strategies(
    names: Sequence[str], instances: int, k: int, r: int, backup_speed: float = 5.0, hedge: float = 95.0
) -> list[Strategy]:
    """Return strategies that each use ``instances`` + r·``instances``/k instances, except ``none``.

    Args:
        names: Some of ``NAMES``: ``none`` has no redundancy and no extra instances; ``equal`` uses the extra ones as
            further deployed instances; ``coded`` as parity instances of a code that needs k of k + r outputs;
            ``heads`` as parity instances of a code whose parity output alone gives all k predictions;
            ``replication`` sends each query twice; ``hedged`` sends a late query again; ``backup`` runs a cheaper
            model on every query.
        instances: Instances of the deployed model, m.
        k: Queries in a coding group.
        r: Number of parity models.
        backup_speed: Speed of the cheaper model relative to the deployed model.
        hedge: Percentile of latency after which ``hedged`` sends a query again.

    Raises:
        ConfigError: If a name is unknown, or m is not a multiple of k.

    Example:
        >>> [(one.name, one.instances) for one in strategies(["equal", "coded"], instances=12, k=3, r=2)]
        [('equal', (20,)), ('coded k=3 r=2', (12, 4, 4))]
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError([f"strategies: unknown {', '.join(unknown)}; choose from {', '.join(NAMES)}"])
    if instances < 1 or k < 2 or r < 1 or instances % k:
        raise ConfigError(
            [f"instances must be a multiple of k, with k ≥ 2 and r ≥ 1, got instances={instances}, k={k}, r={r}"]
        )
    extra = instances // k
    more = instances + r * extra
    every = {
        "none": Strategy("none", uncoded(), (instances,)),
        "equal": Strategy("equal", uncoded(), (more,)),
        "coded": Strategy(f"coded k={k} r={r}", erasure_code(k, r), (instances, *[extra] * r)),
        "heads": Strategy(f"heads k={k}", heads_code(k), (instances, r * extra)),
        "replication": Strategy("replication", uncoded(), (more,), copy_after=0.0),
        "hedged": Strategy("hedged", uncoded(), (more,), copy_after=hedge),
        "backup": Strategy("backup", backed_up(), (instances, r * extra), speed=(1.0, backup_speed)),
    }
    return [every[name] for name in names]
