"""The results of a finished run, as far as a comparison relies on them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from parmtrain.bounds import Count, Finite, NotNegative, Share, Some, Whole
from parmtrain.errors import DataError
from parmtrain.run_folder import RunFolder
from parmtrain.validation import first_wrong


class _Cost(BaseModel):
    extra_workers: NotNegative
    parity_bytes: Finite
    parity_flops: Finite | None
    encoder_flops: Finite | None
    parity_memory: Finite | None = None  # older runs did not measure it


class _Timing(BaseModel):
    encode_us: NotNegative
    decode_us: NotNegative
    parity_latency: Finite | None = None


class _Training(BaseModel):
    seconds: NotNegative


class _Deployed(BaseModel):
    fingerprint: str


class _Metrics(BaseModel):
    task: str
    code: str
    k: Count
    r: Whole
    seed: int
    measure: str
    cost: _Cost
    timing: _Timing
    training: _Training
    deployed: _Deployed
    scheme: dict[str, Any] | None = None  # older runs did not state it


def readable_metrics(place: RunFolder) -> dict[str, Any]:
    """Return the content of a run's ``metrics.json``.

    Raises:
        DataError: If it is damaged, or lacks a figure of the table.
    """
    again = "; remove the folder to run it again"
    try:
        metrics = place.read_metrics()
    except DataError as fault:
        raise DataError(f"{fault}{again}") from fault
    wrong = first_wrong(_Metrics, metrics) or first_wrong(_scores(metrics["measure"]), metrics)
    if wrong is not None:
        what = f"{wrong.key} {wrong.sentence}" if wrong.key else wrong.sentence
        raise DataError(f"{place.metrics}: {what}{again}")
    return metrics


def _scores(measure: str) -> Any:
    """Return the type of the scores, whose keys depend on the measure."""
    score = {measure: Finite}
    interval = {f"{measure}_ci95": tuple[Finite, Finite]}
    main = _object(score)
    degraded = _object(score | interval | {"agreement": Share, "by_position": Some[Finite]})
    all_k = _object(score | interval | {"worst": main, "unrecoverable": Share})
    late = {"degraded": degraded, "all_k": all_k}
    numbers = Annotated[str, Field(pattern=r"^[0-9]+$")]
    more = dict.__class_getitem__((numbers, _object(late)))
    validation = _object({f"degraded_{measure}": Finite}) | None  # older runs did not score what is not trained
    return _object(
        {"validation": validation, "available": main, "default": main, "nobody_late": main, "stragglers": more, **late}
    )


def _object(keys: dict[str, Any]) -> Any:
    """Return the type of an object that has at least these keys."""
    return TypedDict("Scores", keys)  # type: ignore[operator]
