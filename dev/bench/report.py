"""Figures with their spread and goal, as text in the document and as lines of a file."""

import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from dev.local import ROOT

STORED = ROOT / "dev" / "bench" / "results.jsonl"
COMMAND = "python -m dev.bench"
END = "<!-- end -->"
RATIO = "×"  # noqa: RUF001


class Figure(msgspec.Struct, frozen=True):
    """What was measured, once per repeat; ``label`` names it for people.

    ``goal`` is the bound of the median, if any: the most where lower is better, else the least.
    """

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


class Section(msgspec.Struct, frozen=True):
    """The result of one measure.

    ``details`` are Markdown for the document, ``facts`` are for other commands, ``measured`` says when and where.
    """

    name: str
    figures: Mapping[str, Figure]
    details: str = ""
    facts: Mapping[str, float] = {}
    measured: str = ""


def save(sections: Mapping[str, Section]) -> None:
    """Store the results, a line a section."""
    STORED.write_bytes(b"".join(msgspec.json.encode(section) + b"\n" for section in sections.values()))


def load() -> dict[str, Section]:
    """Read the stored results by the names of their sections."""
    sections = [msgspec.json.decode(line, type=Section) for line in STORED.read_bytes().splitlines()]
    return {section.name: section for section in sections}


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def circumstances() -> str:
    """Return the time, the machine, and how many processes wanted to run during the last minute."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )


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
    figures = table(("figure", "measured", "goal", ""), map(_row, section.figures.values()))
    return f"`{COMMAND} {section.name}`, {section.measured}.\n\n{figures}\n\n{section.details}".rstrip()


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
