"""A page that shows how a front is doing: its instances, its counts, and how far its reconstructions can be trusted."""

from collections.abc import Callable
from html import escape
from math import isfinite
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from parmtrain.bundle import Bundle
from parmtrain.serving.front.front import Front
from parmtrain.serving.frontend.counts import COUNTS
from parmtrain.serving.protocol.http import READ

STYLE = (
    "body{font:15px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.2rem .8rem;text-align:right;border-top:1px solid #8884}"
    "td:first-child,th:first-child,.meant{text-align:left}.meant{opacity:.7}h2{margin-top:2rem}"
)
SHOWN = 12  # digits of a fingerprint
WORDS = {
    "waiting": "Queries that wait for an answer.",
    "not_encoded": "Why groups are not encoded: parity models are failing, wrong or unneeded, or F was replaced.",
    "version": "Number of the adapted version; none for a bundle as it was trained.",
    "parity_models": "Fingerprints of the parity models.",
    "promised_agreement": "Least agreement with F that reconstructions which are sent are to have.",
    "thresholds": "Least confidence of reconstructions that are sent, with one late worker, two, …; a dash: none is.",
    "raised": "How far the thresholds lie above the bundle's own, as a share of what is left to 1.",
    "alarm_after": "After how many reconstructions it was known that the promise is broken.",
    "evidence": "What bets against the promise have won: at alarm_length there is an alarm.",
}
SOURCES = {
    "late": "F's own predictions of queries that were reconstructed and came later: no fair sample of all.",
    "audit": "F's own predictions in groups that were decoded though nothing was late: a fair sample.",
}


class Status:
    """Show the state of a front on ``/status``: a page for browsers, JSON for others.

    Args:
        front: The front.
        pools: What the pools are called.
        bundle: Returns the bundle that it serves now; None shows nothing of it.
    """

    def __init__(self, front: Front, pools: list[str], bundle: Callable[[], Bundle] | None = None) -> None:
        self.front, self.pools, self.bundle = front, pools, bundle
        self.route = Route("/status", self._show, methods=READ)

    def state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        frontend, agreement = self.front.service.frontend, self.front.service.agreement
        trust, up = frontend.trust, [frontend.pools.up(pool) for pool in range(len(self.pools))]
        alarm = trust.alarm
        return {
            "model": self.front.name,
            "ready": self.front.ready,
            "waiting": frontend.waiting,
            "bundle": {} if self.bundle is None else _described(self.bundle()),
            "instances_up": dict(zip(self.pools, up, strict=True)),
            "not_encoded": frontend.breaker.why,
            "counts": {str(name): count for name, count in frontend.counts.items()},
            "trust": {
                "promised_agreement": None if alarm is None else alarm.promised,
                "thresholds": [
                    frontend.acceptance.threshold(late) for late in range(1, len(frontend.acceptance.thresholds) + 1)
                ],
                "raised": frontend.acceptance.raised,
                "alarm_after": None if alarm is None else alarm.raised,
                "evidence": None if alarm is None else alarm.evidence,
            },
            "agreement": {} if agreement is None else {name: one.plain() for name, one in agreement.of.items()},
        }

    async def _show(self, request: Request) -> Response:
        state = _finite(self.state())
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse(state)
        return HTMLResponse(_page(state), headers={"Cache-Control": "no-store"})


def _finite(value: Any) -> Any:
    """Return plain values with null in place of what JSON has no number for: thresholds that nothing reaches."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _described(bundle: Bundle) -> dict[str, Any]:
    """Return what tells a bundle from others."""
    about = bundle.about
    return {
        "folder": str(bundle.folder),
        "code": about["code"],
        "k": about["k"],
        "version": about.get("version", {}).get("number"),
        "parity_models": [str(one)[:SHOWN] for one in about.get("parity", {}).get("fingerprints", [])],
    }


def _page(state: dict[str, Any]) -> str:
    """Return a page of the state."""
    about = {name: state[name] for name in ("ready", "waiting", "not_encoded")} | {
        f"{pool}_instances_up": count for pool, count in state["instances_up"].items()
    }
    parts = [_rows("State", about), _rows("Bundle", state["bundle"]), _rows("Trust", state["trust"])]
    for source, means in state["agreement"].items():
        title = "Agreement with late predictions" if source == "late" else "Agreement in audits"
        lines = [("all", means["overall"])]
        for name in ("position", "class", "confidence"):
            lines += [(f"{name} {_label(name, key)}", one) for key, one in means[f"by_{name}"].items()]
        body = "".join(_row(label, one["count"], one["agreement"]) for label, one in lines)
        heads = "<tr><th></th><th>compared</th><th>agreement</th></tr>"
        parts.append(f"<h2>{title}</h2><p>{SOURCES[source]}</p><table>{heads}{body}</table>")
    parts.append(_rows("Counts", state["counts"]))
    name = escape(state["model"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="5"><title>{name}</title><style>{STYLE}</style>'
        f"<h1>{name}</h1>{''.join(parts)}</html>"
    )


def _label(name: str, key: str) -> str:
    return f"{int(key) / 10:.1f} to {int(key) / 10 + 0.1:.1f}" if name == "confidence" else key


def _rows(title: str, values: dict[str, Any]) -> str:
    """Return a table of values, each with what its name means."""
    rows = "".join(_row(name.replace("_", " "), value, meant=_meant(name)) for name, value in values.items())
    return f"<h2>{title}</h2><table>{rows}</table>" if values else ""


def _meant(name: str) -> str:
    return WORDS.get(name) or COUNTS.get(name, "")


def _row(name: str, *values: Any, meant: str = "") -> str:
    cells = "".join(f"<td>{escape(_text(value))}</td>" for value in values)
    return f'<tr><td>{escape(name)}</td>{cells}<td class="meant">{escape(meant)}</td></tr>'


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
