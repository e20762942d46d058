"""Strategies against slow and lost predictions with the same extra resources: codes and their rivals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parmtrain.codes.scheme import Scheme, backed_up, erasure_code, heads_code, uncoded
from parmtrain.errors import ConfigError
from parmtrain.serving.frontend.acceptance import Below
from parmtrain.serving.frontend.limits import Limits, Parity

FIRST = ("none", "equal", "coded", "heads", "replication", "hedged", "backup")
NAMES = (*FIRST, "budgeted", "heads_hedged", "heads_idle", "heads_lazy", "heads_sure", "heads_sure_hedged")
BUDGET = 0.05  # copies of queries, as a share of all queries


@dataclass(frozen=True)
class Strategy:
    """A way to run a service.

    Args:
        name: Its name.
        scheme: Which worker runs what.
        instances: Number of instances of each pool.
        copy_after: When a query is sent again, as a percentile of the latency of ``equal``; None for never.
        speed: Speed of each pool's instances relative to the deployed model's.
        changes: Limits that it sets.
        below: What becomes of queries whose reconstruction is not accepted; None accepts all.
        accepted: Share of reconstructions that is accepted, otherwise.
    """

    name: str
    scheme: Scheme
    instances: tuple[int, ...]
    copy_after: float | None = None
    speed: tuple[float, ...] = (1.0,)
    changes: Mapping[str, Any] = field(default_factory=dict)
    below: Below | None = None
    accepted: float = 1.0

    def limits(self, base: Limits, after: float | None) -> Limits:
        """Return limits with ``copy_after`` set to ``after`` seconds; None leaves them unchanged."""
        changed = base if after is None else replace(base, copy_after=after)
        return replace(changed, **self.changes)


def strategies(
    names: Sequence[str],
    instances: int,
    k: int,
    r: int,
    backup_speed: float = 5.0,
    hedge: float = 95.0,
    accepted: float = 1.0,
) -> list[Strategy]:
    """Return strategies that each use ``instances`` + r·``instances``/k instances, except ``none``.

    Args:
        names: Some of ``NAMES``: ``none`` has no redundancy and no extra instances; ``equal`` uses the extra ones as
            further deployed instances; ``coded`` as parity instances of a code that needs k of k + r outputs;
            ``heads`` as parity instances of a code whose parity output alone gives all k predictions;
            ``replication`` sends each query twice; ``hedged`` sends a late query again; ``backup`` runs a cheaper
            model on every query. ``budgeted`` sends a query again behind a live percentile, at most 5 % of all. The
            other names begin with ``heads``, whose parity instances they have: ``heads_hedged`` is that and
            ``budgeted``, also for queries of encoded groups; ``heads_idle`` encodes a group where a parity instance is
            idle, and otherwise as ``heads_lazy``: once two of its queries are late, a single one being sent again;
            ``heads_sure`` keeps reconstructions without enough confidence and waits for F's own predictions, and
            ``heads_sure_hedged`` sends their queries again.
        instances: Instances of the deployed model, m.
        k: Queries in a coding group.
        r: Number of parity models.
        backup_speed: Speed of the cheaper model relative to the deployed model.
        hedge: Percentile of latency after which ``hedged`` sends a query again.
        accepted: Share of reconstructions with enough confidence for ``heads_sure``.

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
    live = {"copy_percentile": hedge, "copy_budget": BUDGET}
    more = instances + r * extra
    every = {
        "none": Strategy("none", uncoded(), (instances,)),
        "equal": Strategy("equal", uncoded(), (more,)),
        "coded": Strategy(f"coded k={k} r={r}", erasure_code(k, r), (instances, *[extra] * r)),
        "heads": Strategy(f"heads k={k}", heads_code(k), (instances, r * extra)),
        "replication": Strategy("replication", uncoded(), (more,), copy_after=0.0),
        "hedged": Strategy("hedged", uncoded(), (more,), copy_after=hedge),
        "backup": Strategy("backup", backed_up(), (instances, r * extra), speed=(1.0, backup_speed)),
        "budgeted": Strategy("budgeted", uncoded(), (more,), changes=live),
    }
    for name, changes, below in (
        ("heads_hedged", live | {"copy_coded": True}, None),
        ("heads_idle", live | {"parity": Parity.idle}, None),
        ("heads_lazy", live | {"parity": Parity.lazy}, None),
        ("heads_sure", {}, Below.wait),
        ("heads_sure_hedged", {}, Below.hedge),
    ):
        pools = instances, r * extra
        every[name] = Strategy(
            f"{name.replace('_', ' ')} k={k}", heads_code(k), pools, changes=changes, below=below, accepted=accepted
        )
    return [every[name] for name in names]
