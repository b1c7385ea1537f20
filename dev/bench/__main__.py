"""``python -m dev.bench [SECTION …]``: measure, print, write the document, keep the run."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dev.bench import (
    cold_start,
    compare,
    database,
    developer,
    execution,
    listing,
    machine,
    money,
    report,
    round_trips,
)
from dev.bench.figures import Section

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"

MEASURES: dict[str, Callable[..., Section]] = {
    "execution": execution.measure,
    "database": database.measure,
    "round-trips": round_trips.measure,
    "listing": listing.measure,
    "cold-start": cold_start.measure,
    "cost": money.measure,
    "developer": developer.measure,
    "tests": developer.measure_tests,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 whether goals are met or not: the document says which are."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench", description="The measured claims of the documents."
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(MEASURES)}; all by default"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats; writes no document")
    parser.add_argument(
        "--store", action="store_true", help="make this the run that others are compared with"
    )
    parser.add_argument("--written", action="store_true", help="measure nothing: write down the last run")
    chosen = parser.parse_args(arguments)
    names = [] if chosen.written else chosen.sections or list(MEASURES)
    if unknown := set(names) - set(MEASURES):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")

    last = compare.LAST.with_name("quick.json") if chosen.quick else compare.LAST
    sections = report.load(last) or ({} if chosen.quick else report.load(compare.BASELINE))
    for name in names:
        began_s = time.monotonic()
        say = _say(name)
        measured = MEASURES[name](quick=chosen.quick, say=say)
        taken_s = time.monotonic() - began_s
        sections[name] = replace(measured, measured=f"{machine.moment()}, {taken_s:.0f} s")
        report.save(last, sections, machine.describe(), machine.versions())
    sections = {name: sections[name] for name in MEASURES if name in sections}
    text = report.render(sections, machine.describe(), machine.versions())
    print(text)
    if not chosen.quick:
        from dev.bench import plots  # matplotlib takes a second that measuring need not share

        report.write(DOCUMENT, text)
        growths = [growth for section in sections.values() for growth in section.growth]
        plots.draw(DOCUMENT.with_suffix(""), growths)
    if chosen.store:
        report.save(compare.BASELINE, sections, machine.describe(), machine.versions())
    return 0


def _say(name: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
