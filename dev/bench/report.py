"""The results as text, their place in the document, and their place on the disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from dev.bench.figures import RATIO, Figure, Section, Table, number

BEGIN = "<!-- written by make bench: begin -->"
END = "<!-- written by make bench: end -->"
COMMAND = "python -m dev.bench"


def render(sections: Mapping[str, Section], machine: str, versions: str) -> str:
    """Everything that the command prints, as Markdown."""
    parts = [
        f"Machine: {machine}. Versions: {versions}.",
        "A figure is the median of its repeats, with the smallest and the largest in brackets. Contenders of "
        "a ratio are paired: they ran one after the other in the same repeat, on the same servers.",
        "## Goals",
        _goals(sections),
    ]
    for section in sections.values():
        parts += [f"## {section.title}", f"`{COMMAND} {section.name}`, {section.measured}."]
        parts += [_figures(section), section.meaning]
        for table in section.tables:
            if table.rows:
                parts += [f"{table.caption}:", _table(table)]
        parts += [f"![{growth.title}](performance/{growth.name}.png)" for growth in section.growth]
        for caption, text in section.blocks.items():
            parts.append(f"<details><summary>{caption}</summary>\n\n```\n{text}\n```\n\n</details>")
    return "\n\n".join(_wrapped(part) for part in parts) + "\n"


def _wrapped(part: str) -> str:
    if part.startswith(("#", "|", "!", "<")):
        return part
    return fill(part, 118, break_long_words=False, break_on_hyphens=False)


def _goals(sections: Mapping[str, Section]) -> str:
    rows = [
        (
            f"[{section.title}](#{_anchor(section.title)})",
            figure.label,
            value(figure),
            str(figure.goal),
            _met(figure),
        )
        for section in sections.values()
        for figure in section.figures
        if figure.goal is not None
    ]
    return _table(Table("", ("", "figure", "measured", "goal", ""), rows))


def _anchor(title: str) -> str:
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return "".join(kept).replace(" ", "-")


def _figures(section: Section) -> str:
    rows = [
        (figure.label, value(figure), str(figure.goal) if figure.goal else "", _met(figure))
        for figure in section.figures
    ]
    return _table(Table("", ("figure", "measured", "goal", ""), rows))


def value(figure: Figure) -> str:
    """A figure as it is quoted: its median, and its spread if it was measured more than once."""
    low, high = figure.spread
    spread = f" ({number(low)} to {number(high)})" if len(figure.values) > 1 else ""
    if figure.unit == "$":
        return f"${number(figure.median)}{spread}"
    unit = figure.unit if figure.unit == RATIO else f" {figure.unit}".rstrip()
    return f"{number(figure.median)}{unit}{spread}"


def _met(figure: Figure) -> str:
    return {None: "", True: "met", False: "**missed**"}[figure.met]


def _table(table: Table) -> str:
    lines = [f"| {' | '.join(table.head)} |", f"|{'---|' * len(table.head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table.rows)])


def write(document: Path, text: str) -> None:
    """Put ``text`` between the document's markers.

    Raises:
        ValueError: the document has not one pair of them.
    """
    whole = document.read_text()
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"{document} needs one line '{BEGIN}' and one '{END}'")
    before, _, rest = whole.partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def save(path: Path, sections: Mapping[str, Section], machine: str, versions: str) -> None:
    """Store a run."""
    record = {
        "machine": machine,
        "versions": versions,
        "sections": {name: _rounded(section.to_record()) for name, section in sections.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> dict[str, Section]:
    """Read a stored run; empty if there is none."""
    if not path.exists():
        return {}
    record = json.loads(path.read_text())
    return {name: Section.from_record(section) for name, section in record["sections"].items()}


def _rounded(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
