"""``python -m dev.simulation``: run all policies on all traces, print the figures, write and draw them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dev.simulation import queueing, report, runs

SEEDS = 20
CURVE_SEEDS = 10
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, whether or not the goals are met. 1 if the queueing part disagrees with the closed form.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dev.simulation", description="Scaling policies against traces."
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two seeds, short traces; writes no document")
    parser.add_argument(
        "--docs", type=Path, default=None, help=f"document to write, {DOCUMENT.name} by default"
    )
    chosen = parser.parse_args(arguments)
    seeds = 2 if chosen.quick else chosen.seeds
    at_most_days = 1 if chosen.quick else None
    document: Path | None = chosen.docs or (None if chosen.quick else DOCUMENT)

    started_s = time.monotonic()
    curve_seeds = 1 if chosen.quick else min(seeds, CURVE_SEEDS)
    results = runs.all_runs(seeds, curve_seeds, processes=chosen.processes, at_most_days=at_most_days)
    checks = queueing.check(seeds=4 if chosen.quick else SEEDS)
    text = report.render(results, checks)
    print(text)
    if document is not None:
        from dev.simulation import plots  # matplotlib takes a second that printing need not wait for

        report.write(document, text)
        plots.draw_all(document.with_suffix(""), results, at_most_days)
    print(f"{len(results.outcomes)} runs, {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    return 0 if all(check.agrees for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
