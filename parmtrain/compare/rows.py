"""The rows of a comparison, from the results of its runs."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from parmtrain.compare.table import GUESS, HEADINGS, PROMISED, Row
from parmtrain.metrics.functional import accuracy_with_one_straggler


def rows_of(results: Iterable[tuple[str, dict[str, Any]]]) -> list[Row]:
    """Return one row for each code, k, r, variant and number of late workers: means over seeds.

    For each k and deployed model, one more row has the score of any systematic code with one extra worker if it guesses
    the lost prediction.

    Args:
        results: A variant and the content of ``metrics.json`` for each run.
    """
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for variant, metrics in results:
        runs[metrics["code"], metrics["k"], metrics["r"], variant].append(metrics)
    rows: list[Row] = []
    guessed: dict[tuple[int, float], Row] = {}
    for (code, k, r, variant), same in runs.items():
        scheme = json.dumps(same[0]["scheme"]) if "scheme" in same[0] else ""  # read by advise
        measure = same[0]["measure"]
        about = {
            "code": code,
            "k": k,
            "r": r,
            "variant": variant,
            "seeds": len(same),
            "available": mean(run["available"][measure] for run in same),
            "scheme": scheme,
            "systematic": (same[0].get("scheme") or {}).get("systematic", True),
        }
        validated = _mean((run["validation"] or {}).get(f"degraded_{measure}") for run in same)
        trusted = _trusted(same, 1)
        rows.append(
            {**about, "late": 1, "validation": validated, **_accuracies(same, measure), **trusted, **_costs(same)}
        )
        for late in same[0]["stragglers"]:
            more = [metrics["stragglers"][late] | {"nobody_late": metrics["nobody_late"]} for metrics in same]
            figures = _accuracies(more, measure) | _trusted(same, int(late))
            rows.append({**about, "late": int(late), "validation": None, **figures, **_costs(same)})
        guess = _guess(k, variant, same[0])
        guessed.setdefault((k, guess["available"]), guess)
    alone = len({available for _, available in guessed}) == 1
    return rows + [row | {"variant": "" if alone else row["variant"]} for _, row in sorted(guessed.items())]


def _accuracies(runs: Sequence[dict[str, Any]], measure: str) -> Row:
    def over_runs(part: str, figure: str) -> float:
        return float(mean(run[part][figure] for run in runs))

    degraded = [run["degraded"][measure] for run in runs]
    return {
        "nobody_late": over_runs("nobody_late", measure),
        "degraded": mean(degraded),
        "degraded_low": mean(run["degraded"][f"{measure}_ci95"][0] for run in runs),
        "degraded_high": mean(run["degraded"][f"{measure}_ci95"][1] for run in runs),
        "degraded_spread": stdev(degraded) if len(runs) > 1 else None,
        "degraded_worst": mean(min(run["degraded"]["by_position"]) for run in runs),
        "agreement": over_runs("degraded", "agreement"),
        "all_k": over_runs("all_k", measure),
        "all_k_low": mean(run["all_k"][f"{measure}_ci95"][0] for run in runs),
        "all_k_high": mean(run["all_k"][f"{measure}_ci95"][1] for run in runs),
        "all_k_worst": mean(run["all_k"]["worst"][measure] for run in runs),
        "unrecoverable": over_runs("all_k", "unrecoverable"),
    }


def _trusted(runs: Sequence[dict[str, Any]], late: int) -> Row:
    """Return how far reconstructions can be trusted, and what each promise accepts; None in runs that do not say."""
    given = [(run.get("confidence") or {}).get(str(late)) for run in runs]
    known = [one for one in given if one is not None]
    if len(known) < len(runs):
        return dict.fromkeys(name for name in HEADINGS if name.startswith(("calibration", "accepted_")))
    found: Row = {"calibration_error": mean(one["agreement"]["calibration_error"] for one in known)}
    for promised in PROMISED:
        accepted = [one["promised_agreement"].get(promised) or {} for one in known]
        found[f"accepted_{promised}"] = _mean(one.get("share") for one in accepted)
        found[f"accepted_value_{promised}"] = _mean(one.get("value") for one in accepted)
        found[f"accepted_own_{promised}"] = _mean(one.get("own_value") for one in accepted)
    return found


def _costs(runs: Sequence[dict[str, Any]]) -> Row:
    return {
        "parity_memory": None,
        **runs[0]["cost"],
        "parity_latency": _mean(run["timing"].get("parity_latency") for run in runs),
        "encode_us": mean(run["timing"]["encode_us"] for run in runs),
        "decode_us": mean(run["timing"]["decode_us"] for run in runs),
        "training_seconds": mean(run["training"]["seconds"] for run in runs),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is missing."""
    every = list(values)
    return None if None in every else mean(value for value in every if value is not None)


def _guess(k: int, variant: str, run: dict[str, Any]) -> Row:
    available, default = (run[part][run["measure"]] for part in ("available", "default"))
    free = dict.fromkeys(HEADINGS)
    return free | {
        "code": GUESS,
        "k": k,
        "r": 1,
        "variant": variant,
        "available": available,
        "late": 1,
        "nobody_late": available,
        "degraded": default,
        "all_k": accuracy_with_one_straggler(available, default, k),
        "extra_workers": 1 / k,
    }
