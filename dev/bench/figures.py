"""A figure: one number with its spread, its goal, and what it is compared by."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RATIO = "×"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is held to.

    Attributes:
        kind: ``at most`` or ``at least``.
        bound: in the figure's unit; met exactly is met.
    """

    kind: Literal["at most", "at least"]
    bound: float

    def met(self, value: float) -> bool:
        """Tell whether ``value`` meets the goal."""
        return value <= self.bound if self.kind == "at most" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.kind == 'at most' else '≥'} {number(self.bound)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, once a repeat.

    Attributes:
        key: its name in stored runs, unique within a section.
        label: what it is, in words.
        unit: `RATIO` for ratios, which are what runs on different machines can be compared by.
        values: one a repeat.
        goal: what the median is held to; None for none.
        better: which way is better; says what a comparison calls a regression.
    """

    key: str
    label: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def median(self) -> float:
        """The value that is quoted."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest value and the largest."""
        return min(self.values), max(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal; None without one."""
        return None if self.goal is None else self.goal.met(self.median)


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the document.

    Attributes:
        name: what selects it on the command line.
        title: its heading.
        figures: ratios first.
        tables: with a caption, a heading row and rows each.
        blocks: text that is shown as it is, by caption; such as a plan.
        meaning: a paragraph that says what the figures mean.
        growth: for plots: by title, the axes' names and the series.
        measured: when and where.
    """

    name: str
    title: str
    figures: Sequence[Figure]
    meaning: str
    tables: Sequence[Table] = ()
    blocks: Mapping[str, str] = field(default_factory=dict)
    growth: Sequence[Growth] = ()
    measured: str = ""

    def figure(self, key: str) -> Figure:
        """Return the figure of that key. Raises KeyError."""
        for figure in self.figures:
            if figure.key == key:
                return figure
        raise KeyError(key)

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Section:
        """Undo `to_record`."""
        figures = [
            Figure(**{**figure, "goal": Goal(**figure["goal"]) if figure["goal"] else None})
            for figure in record["figures"]
        ]
        return cls(
            **{
                **record,
                "figures": figures,
                "tables": [Table(**table) for table in record["tables"]],
                "growth": [Growth(**growth) for growth in record["growth"]],
            }
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        head: the columns.
        rows: cells, as they are printed.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Growth:
    """How something grows with size: one plot.

    Attributes:
        name: the file's name, without its ending.
        title: what the plot is headed.
        across: what lies across.
        up: what goes up, with its unit.
        series: by name, the points.
    """

    name: str
    title: str
    across: str
    up: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide what was measured in the same repeats, pair by pair.

    Raises:
        ValueError: the repeats don't pair up.
    """
    return [a / b for a, b in zip(above, below, strict=True)]


def number(value: float) -> str:
    """Write a number as a reader wants it: three digits that matter, thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def repeat(times: int, measure: Callable[[], float]) -> list[float]:
    """Measure several times over."""
    return [measure() for _ in range(times)]
