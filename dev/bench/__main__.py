"""``python -m dev.bench [NAME …]``: measure, print, write the document, keep the run."""

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

    run = report.load()
    run.machine = report.machine()
    for name in chosen.names or MEASURES:
        run.sections[name] = structs.replace(MEASURES[name](quick=chosen.quick), measured=report.moment())
        print(report.render(run.sections[name]), end="\n\n", flush=True)
        if not chosen.quick:
            run.save()
            report.write(DOCUMENT, blocks(run))
    return 0


def blocks(run: report.Run) -> dict[str, str]:
    """Return what the document says of a run, by the name of the place."""
    sections = {name: report.render(section) for name, section in run.sections.items()}
    return sections | {report.GOALS: report.goals(run)}


if __name__ == "__main__":
    sys.exit(main())
