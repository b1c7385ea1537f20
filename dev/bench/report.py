"""The results as text, their place in the document, and their place on the disk."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from dev.bench.figures import RATIO, Figure, Section, number, spread

COMMAND = "python -m dev.bench"
GOALS = "goals"
END = "<!-- end -->"
_HEAD = ("figure", "measured", "goal", "")


class Run(msgspec.Struct):
    """A stored run: sections by name, and where they were measured."""

    sections: dict[str, Section] = {}
    machine: str = ""
    versions: str = ""

    def save(self, path: Path) -> None:
        """Store it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def load(path: Path) -> Run:
    """Read a stored run; an empty one if there is none."""
    return msgspec.json.decode(path.read_bytes(), type=Run) if path.exists() else Run()


def begin(name: str) -> str:
    """Return the line of the document after which a section's results stand."""
    return f"<!-- written by {COMMAND}: {name} -->"


def render(section: Section) -> str:
    """Return the results of one section as Markdown."""
    parts = [f"`{COMMAND} {section.name}`, {section.measured}.", table(_HEAD, map(_row, section.figures))]
    for one in section.tables:
        parts += [f"{one.caption}:", table(one.head, one.rows)]
    return "\n\n".join(parts + [f"![{plot.title}](performance/{plot.name}.png)" for plot in section.plots])


def goals(run: Run, measures: Iterable[str]) -> str:
    """Return the machine, all figures that have a goal, and the measures that the run lacks, as Markdown."""
    rows = [
        (f"[{section.title}](#{_anchor(section.title)})", *_row(figure))
        for section in run.sections.values()
        for figure in section.figures
        if figure.goal is not None
    ]
    rows += [
        (f"`{COMMAND} {name}`", "**not measured**", "", "", "")
        for name in measures
        if name not in run.sections
    ]
    return f"Machine: {run.machine}. Versions: {run.versions}.\n\n{table(('', *_HEAD), rows)}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def quoted(figure: Figure) -> str:
    """Return the median of a figure with its unit."""
    if figure.unit == "$":
        return f"${figure.median:,.2f}"
    return number(figure.median) + (figure.unit if figure.unit in ("", RATIO) else f" {figure.unit}")


def _row(figure: Figure) -> tuple[str, ...]:
    goal = "" if figure.goal is None else f"{'≤' if figure.better == 'lower' else '≥'} {number(figure.goal)}"
    around = spread(figure.values).partition(" ")[2]
    verdict = {None: "", True: "met", False: "**missed**"}[figure.met]
    return figure.label, f"{quoted(figure)} {around}".rstrip(), goal, verdict


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def write(document: Path, blocks: Mapping[str, str]) -> None:
    """Replace each block between its markers; what stands around them is written by hand.

    Raises ValueError if the document lacks the markers of a block; nothing was written then.
    """
    text = document.read_text()
    for name, block in blocks.items():
        before, found, rest = text.partition(begin(name) + "\n")
        _, ended, after = rest.partition(END)
        if not found or not ended:
            raise ValueError(f"{document} needs a line '{begin(name)}' and a line '{END}' after it")
        text = f"{before}{found}\n{block}\n\n{ended}{after}"
    document.write_text(text)
