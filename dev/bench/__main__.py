"""``python -m dev.bench [NAME …]``: measure, print, write the document, keep the run."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec import structs

from dev.bench import (
    compare,
    cost,
    database,
    developer,
    listing,
    machine,
    network,
    processor,
    recovery,
    report,
    round_trips,
    sending,
)
from dev.bench.figures import Section
from dev.definition import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"

MEASURES: dict[str, Callable[..., Section]] = {
    "recovery": recovery.measure,
    "network": network.measure,
    "sending": sending.measure,
    "processor": processor.measure,
    "round-trips": round_trips.measure,
    "listing": listing.measure,
    "database": database.measure,
    "cost": cost.measure,
    "developer": developer.measure,
    "tests": developer.measure_tests,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 whether goals are met or not: the document says which are."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench", description="The figures of the documents.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats; writes no document")
    parser.add_argument("--store", action="store_true", help="make this the run to compare others with")
    parser.add_argument(
        "--latency",
        action="append",
        default=[],
        metavar="SERVER=MS",
        help=f"added to a round trip by `network`, of {', '.join(network.LATENCY_MS)}; writes no document",
    )
    parser.add_argument("--written", action="store_true", help="measure nothing: write down the last run")
    chosen = parser.parse_args(arguments)
    names = [] if chosen.written else chosen.names or list(MEASURES)
    if unknown := set(names) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")

    for server, _, latency_ms in (given.partition("=") for given in chosen.latency):
        if server not in network.LATENCY_MS:
            parser.error(f"no such server: {server}; there are {', '.join(network.LATENCY_MS)}")
        network.LATENCY_MS[server] = float(latency_ms)
    apart = chosen.quick or bool(chosen.latency)
    last = compare.LAST.with_name("apart.json") if apart else compare.LAST
    run = report.load(last if apart or last.exists() else compare.BASELINE)
    for name in names:
        began_s = time.monotonic()
        measured = MEASURES[name](quick=chosen.quick, say=partial(_say, name))
        moment = f"{machine.moment()}, {time.monotonic() - began_s:.0f} s"
        sections = run.sections | {name: structs.replace(measured, measured=moment)}
        ordered = {name: sections[name] for name in MEASURES if name in sections}
        run = report.Run(ordered, machine.describe(), machine.versions())
        run.save(last)
    blocks = {name: report.render(section) for name, section in run.sections.items()}
    blocks[report.GOALS] = report.goals(run, MEASURES)
    print("\n\n".join(blocks[name] for name in ([*names, report.GOALS] if names else blocks)))
    if not apart:
        from dev.bench import plots  # matplotlib takes a second that measuring need not share

        report.write(DOCUMENT, blocks)
        plots.draw(DOCUMENT.with_suffix(""), [p for section in run.sections.values() for p in section.plots])
    if chosen.store:
        run.save(compare.BASELINE)
    return 0


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
