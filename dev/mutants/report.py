"""Scores and survivors per area, and the mutants that nobody could notice."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dev.mutants.outcome import Outcome

EQUIVALENT = Path(__file__).with_name("equivalent.json")
LEAST_PER_AREA, LEAST_IN_ALL = 0.85, 0.90


class Equivalents:
    """The mutants that make no difference, from ``equivalent.json``: by area, a name and the reason.

    A ``*`` in a name stands for anything. Names outside of any area are of mutants of the functions, which mark
    theirs themselves.
    """

    def __init__(self, entries: Mapping[str, Mapping[str, str] | str]) -> None:
        self._entries = [
            (area, name, re.compile(".*".join(map(re.escape, name.split("*")))), reason)
            for area, of_area in entries.items()
            if not isinstance(of_area, str)
            for name, reason in of_area.items()
        ]

    @classmethod
    def load(cls) -> "Equivalents":
        """Read the file."""
        return cls(json.loads(EQUIVALENT.read_text()))

    def reason(self, area: str, mutant: str) -> str:
        """Return why nobody could notice a mutant; '' if somebody could."""
        return next(
            (why for of, _, name, why in self._entries if of == area and name.fullmatch(mutant)),
            "",
        )

    def mark(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the outcomes with the reasons of those that are equivalent."""
        return [
            replace(one, equivalent=one.equivalent or self.reason(one.area, one.mutant)) for one in outcomes
        ]

    def unused(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Return the entries that are out of date: no mutant has their name, or a test notices it after all."""
        areas = {one.area for one in outcomes}
        return [
            f"{area}: {name}"
            for area, name, pattern, _ in self._entries
            if area in areas
            and not any(
                one.area == area and not one.noticed and pattern.fullmatch(one.mutant) for one in outcomes
            )
        ]


def score(outcomes: Sequence[Outcome]) -> float:
    """Return the share of mutants that were noticed, of those that could be."""
    counted = [one for one in outcomes if not one.equivalent]
    return sum(one.noticed for one in counted) / len(counted) if counted else 1.0


def by_area(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Group the outcomes."""
    return {
        area: [one for one in outcomes if one.area == area]
        for area in dict.fromkeys(o.area for o in outcomes)
    }


def passes(outcomes: Sequence[Outcome]) -> bool:
    """Whether every area and all together reach the least score."""
    return score(outcomes) >= LEAST_IN_ALL and all(
        score(of_area) >= LEAST_PER_AREA for of_area in by_area(outcomes).values()
    )


def show(outcomes: Sequence[Outcome], *, survivors: int = 20) -> None:
    """Print the score of each area and the first of its survivors."""
    console = Console()
    table = Table(box=box.SIMPLE)
    for heading in ("area", "mutants", "noticed", "equivalent", "score"):
        table.add_column(heading, justify="left" if heading == "area" else "right")
    for area, of_area in {**by_area(outcomes), "all": list(outcomes)}.items():
        counted = [one for one in of_area if not one.equivalent]
        noticed = sum(one.noticed for one in counted)
        counts = (len(of_area), noticed, len(of_area) - len(counted))
        table.add_row(area, *map(str, counts), f"{score(of_area):.1%}")
    console.print(table)
    for area, of_area in by_area(outcomes).items():
        alive = [one.mutant for one in of_area if not one.noticed and not one.equivalent]
        for name in alive[:survivors]:
            console.print(f"{escape(area)}: {escape(name)}", highlight=False, soft_wrap=True)
        if len(alive) > survivors:
            console.print(f"{escape(area)}: and {len(alive) - survivors} more", highlight=False)


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write every mutant with what became of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for area, of_area in by_area(outcomes).items():
            file.write(f"{area}: {score(of_area):.1%}\n")
            for one in of_area:
                end = (
                    f"equivalent: {one.equivalent}"
                    if one.equivalent
                    else "noticed"
                    if one.noticed
                    else "SURVIVED"
                )
                file.write(f"  {one.mutant}: {end}\n")
