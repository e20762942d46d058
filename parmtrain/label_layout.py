"""Find places for labels so that none hides another: plain geometry, the same for every run."""

from collections.abc import Iterator, Sequence
from math import cos, inf, pi, sin
from typing import NamedTuple

DIRECTIONS = 16
FARTHEST = 60  # steps from an anchor


class Box(NamedTuple):
    """A rectangle around a centre."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: "Box") -> bool:
        """Return whether two rectangles share an area.

        Example:
            >>> Box(0, 0, 2, 2).overlaps(Box(1, 0, 2, 2)), Box(0, 0, 2, 2).overlaps(Box(2, 0, 2, 2))
            (True, False)
        """
        across = 2 * abs(self.x - other.x) < self.width + other.width
        return across and 2 * abs(self.y - other.y) < self.height + other.height

    def within(self, frame: "Box") -> bool:
        """Return whether the rectangle lies inside another one.

        Example:
            >>> Box(0, 0, 2, 2).within(Box(0, 0, 4, 4)), Box(2, 0, 2, 2).within(Box(0, 0, 4, 4))
            (True, False)
        """
        across = 2 * abs(self.x - frame.x) <= frame.width - self.width
        return across and 2 * abs(self.y - frame.y) <= frame.height - self.height


EVERYWHERE = Box(0, 0, inf, inf)


def shifts(labels: Sequence[Box], marks: Sequence[Box] = (), frame: Box = EVERYWHERE) -> list[tuple[float, float]]:
    """Return how far right and up each label has to move, in order, so that none hides another or a mark.

    The nearest free place is taken. A label that finds none stays where it is.

    Args:
        labels: Rectangles of the labels, each around what it labels.
        marks: Rectangles that labels must not hide.
        frame: Labels stay inside it.

    Example:
        >>> [(round(x), round(y)) for x, y in shifts([Box(0, 0, 10, 10), Box(50, 0, 10, 10), Box(1, 0, 10, 10)])]
        [(0, 0), (0, 0), (10, 0)]
    """
    taken = list(marks)
    moved = []
    for label in labels:
        free = (
            (x, y)
            for x, y in _steps(label)
            if (place := label._replace(x=label.x + x, y=label.y + y)).within(frame)
            and not any(place.overlaps(other) for other in taken)
        )
        x, y = next(free, (0.0, 0.0))
        moved.append((x, y))
        taken.append(label._replace(x=label.x + x, y=label.y + y))
    return moved


def _steps(label: Box) -> Iterator[tuple[float, float]]:
    """Yield shifts from near to far: right, left, up, down and between."""
    yield 0.0, 0.0
    step = min(label.width, label.height) / 2
    quarters = sorted(range(DIRECTIONS), key=lambda turn: (turn % 8 != 0, turn % 4 != 0, turn))
    for far in range(1, FARTHEST + 1):
        for turn in quarters:
            angle = 2 * pi * turn / DIRECTIONS
            yield far * step * cos(angle), far * step * sin(angle)
