"""A figure: one number with its spread and its goal; and the sections that hold figures, tables and plots."""

import statistics
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

RATIO = "×"  # noqa: RUF001

Say = Callable[[str], None]
"""Takes one line of progress."""


class Figure(msgspec.Struct, frozen=True):
    """What was measured, once per repeat.

    Attributes:
        key: its name in stored runs, unique within a section.
        label: its name for people.
        unit: `RATIO` for ratios, which can be compared between machines.
        values: one per repeat; the median is quoted.
        goal: the bound of the median, if any; a median that equals it meets it.
        better: the direction of improvement, from which the goal and a comparison follow.
    """

    key: str
    label: str
    unit: str
    values: Sequence[float]
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def median(self) -> float:
        """The value that is quoted."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.better == "lower" else self.median >= self.goal


class Table(msgspec.Struct, frozen=True):
    """A table: caption, heading row, and rows of cells as they are printed."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Plot(msgspec.Struct, frozen=True):
    """Lines in one picture: points by the name of each line. ``name`` is the file's, without its ending."""

    name: str
    title: str
    across: str
    up: str
    lines: dict[str, list[tuple[float, float]]]
    scale: Literal["log", "linear"] = "log"


class Section(msgspec.Struct, frozen=True):
    """The result of one measure.

    ``title`` is its heading in the document, ``facts`` are values that other commands use, ``measured`` says when,
    under which load and for how long.
    """

    name: str
    title: str
    figures: list[Figure]
    tables: list[Table] = []
    plots: list[Plot] = []
    facts: dict[str, float] = {}
    measured: str = ""

    def figure(self, key: str) -> Figure:
        """Return the figure of that key. Raises KeyError."""
        return {figure.key: figure for figure in self.figures}[key]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide what was measured in the same repeats, pair by pair. Raises ValueError if they don't pair up."""
    return [a / b for a, b in zip(above, below, strict=True)]


def number(value: float) -> str:
    """Write a number with three significant digits and a comma between thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def spread(values: Sequence[float]) -> str:
    """Write the median, and in brackets the smallest and largest of several values."""
    text = number(statistics.median(values))
    return f"{text} ({number(min(values))} to {number(max(values))})" if len(values) > 1 else text
