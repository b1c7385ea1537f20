"""``python -m dev.bench [NAME …]``: measure, print, write the document, keep the results."""

import argparse
import sys
from collections.abc import Callable, Sequence

from msgspec import structs

from dev.bench import cost, database, network, recovery, report, round_trips
from dev.local import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"

MEASURES: dict[str, Callable[..., report.Section]] = {
    "recovery": recovery.measure,
    "network": network.measure,
    "round-trips": round_trips.measure,
    "database": database.measure,
    "cost": cost.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 whether goals are met or not: the document says which are."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench", description="The figures of the documents.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats; writes nothing")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")

    sections = report.load()
    for name in chosen.names or MEASURES:
        section = structs.replace(MEASURES[name](quick=chosen.quick), measured=report.circumstances())
        text = report.render(section)
        print(text, end="\n\n", flush=True)
        if not chosen.quick:
            sections[name] = section
            report.save(sections)
            report.write(DOCUMENT, {name: text})
    return 0


if __name__ == "__main__":
    sys.exit(main())
