"""What a logger gets of a finished run, beside the curves and figures that Lightning gives it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Published:
    """What a finished run has to show.

    Args:
        name: A name for its bundle: task, code and k.
        pictures: Its PNG files, by what they show.
        bundle: Folder of its bundle.
        about: Figures that describe the bundle.
    """

    name: str
    pictures: dict[str, Path]
    bundle: Path
    about: dict[str, Any]


def publish(logger: Any, published: Published) -> None:
    """Give a logger what a run has to show, if it takes it: a method ``publish`` of one ``Published``.

    Args:
        logger: Any Lightning logger.
        published: What the run has to show.

    Example:
        >>> class Mine:
        ...     def publish(self, published: Published) -> None:
        ...         print(published.name)
        >>> publish(Mine(), Published("digits-sum-k2", {}, Path("export"), {}))
        digits-sum-k2
        >>> publish(object(), Published("digits-sum-k2", {}, Path("export"), {}))
    """
    takes = getattr(logger, "publish", None)
    if takes is not None:
        takes(published)
