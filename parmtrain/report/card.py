"""The card of a bundle: what it is, how good it is, and how to use it, for whoever finds its folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from parmtrain.bundle.description import CARD, read_description
from parmtrain.config.comments import about, options_of
from parmtrain.files import write_text
from parmtrain.metrics.measures import AGREEMENT

NAMES = {AGREEMENT: "agreement with F"}
SHOWN = 12  # digits of a fingerprint


def write_card(cfg: DictConfig, metrics: dict[str, Any], folder: Path) -> None:
    """Write the card of a bundle into its folder.

    Args:
        cfg: Configuration of its run.
        metrics: Content of the run's ``metrics.json``, with the bundle's own scores.
        folder: Folder of the bundle.
    """
    write_text(folder / CARD, card(metrics, read_description(folder), _about_data(metrics["task"]), made_of(cfg)))


def card(metrics: dict[str, Any], about: dict[str, Any], data: str, made_of: str) -> str:
    """Return the card of a bundle as Markdown.

    Args:
        metrics: Content of the run's ``metrics.json``.
        about: Content of ``bundle.json``.
        data: What the data is, and its licence.
        made_of: Classes of the code and of its model.
    """
    return "\n".join(_lines(metrics, about, data, made_of)) + "\n"


def _lines(metrics: dict[str, Any], about: dict[str, Any], data: str, made_of: str) -> Iterator[str]:
    task, code, k, r = (metrics[name] for name in ("task", "code", "k", "r"))
    measure = metrics["measure"]
    name = NAMES.get(measure, measure)
    late = metrics["degraded"]
    yield f"# A parity model for {task}: {code}, k = {k}, r = {r}"
    yield ""
    yield (
        "This bundle reconstructs a prediction of a deployed model F that is slow or lost, from the other outputs of "
        f"its group of {k} queries."
    )
    yield ""
    yield from ("| | |", "|---|---|")
    yield f"| deployed model F | fingerprint `{metrics['deployed']['fingerprint'][:SHOWN]}…`{_inside(about)} |"
    if measure != AGREEMENT:
        yield f"| F's own {name}, A_a | {metrics['available'][measure]:.4f} |"
    low, high = late[f"{measure}_ci95"]
    yield f"| {name} of reconstructions, A_d | {late[measure]:.4f} (95 %: {low:.4f} to {high:.4f}) |"
    yield f"| by position | {', '.join(f'{one:.4f}' for one in late['by_position'])} |"
    if measure != AGREEMENT:
        yield f"| agreement with F | {late['agreement']:.4f} |"
    yield f"| a fixed answer instead | {metrics['default'][measure]:.4f} |"
    yield f"| groups of the test split | {late['groups']} |"
    yield from _costs(metrics["cost"])
    yield from _trust(metrics["confidence"].get("1"))
    yield ""
    yield f"Data: {data}" if data else "Data: of your own."
    yield ""
    yield from ("## Use", "", "```python", "import parmtrain", "")
    yield 'bundle = parmtrain.load(".")  # or the path of this folder'
    shape = ", ".join(map(str, about["shapes"]["query"]))
    yield f"parity_queries = bundle.encode(queries)  # [g, {k}, {shape}], float32, prepared as bundle.json says"
    yield from ("outputs = bundle.predict(parity_queries)", "```", "")
    yield "Serve it before a fleet: `parmtrain serve bundle=FOLDER fleet=fleet.yaml`. Its files are programs: load only"
    yield "bundles that you would run."
    yield ""
    yield "## Made by"
    yield ""
    yield f"A run with task={task}, k={k}, seed={metrics['seed']} and the code {made_of};"
    yield "`config.yaml` of the run has the rest;"
    best = (metrics["validation"] or {}).get("epoch")
    chosen = (
        "nothing was trained"
        if best is None
        else f"epoch {best + 1} of {metrics['training']['epochs']}, chosen on validation"
    )
    yield f"{chosen}; nothing was chosen on the test split."
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()) + "."


def _inside(about: dict[str, Any]) -> str:
    held = any(name.startswith("deployed.") for name in about["files"])
    return ", in this bundle" if held else ", not in this bundle: `parmtrain.load(folder, deployed=…)`"


def _costs(cost: dict[str, float | None]) -> Iterator[str]:
    for key, words in (
        ("extra_workers", "extra workers per query"),
        ("parity_bytes", "parity bytes ÷ bytes of a query"),
        ("parity_flops", "parity FLOPs of a group ÷ FLOPs of one run of F"),
    ):
        if (value := cost.get(key)) is not None:
            yield f"| {words} | {value:.2f} |"


def _trust(certainty: dict[str, Any] | None) -> Iterator[str]:
    """Yield how far reconstructions can be trusted, if that was measured."""
    if certainty is None:
        return
    yield f"| calibration error of the confidence | {certainty['agreement']['calibration_error']:.3f} |"
    for promised, one in certainty["promised_agreement"].items():
        if one["share"]:
            agree = f"{one['share']:.0%}, of which {one['agreement']:.4f} agree"
            yield f"| accepted at a promised agreement of {promised} | {agree} |"


def made_of(cfg: DictConfig) -> str:
    """Return the classes of a configuration's code, the code inside it and its model, as its card names them.

    Example:
        >>> made_of(DictConfig({"code": {"_target_": "mine.Code", "model": {"_target_": "mine.Net"}}}))
        '`mine.Code` of `mine.Net`'
    """
    node, found = cfg.code, [f"`{cfg.code._target_}`"]
    for part in ("code", "model"):
        inner = node.get(part)
        if isinstance(inner, DictConfig) and "_target_" in inner:
            found.append(f"`{inner._target_}`")
    return " of ".join(found)


def _about_data(task: str) -> str:
    """Return what the data of a task of parmtrain is, and its licence; nothing of other tasks."""
    option = options_of("task").get(task)
    return "" if option is None else about(option)
