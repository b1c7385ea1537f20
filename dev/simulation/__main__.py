"""``python -m dev.simulation``: run all policies on all traces, print the figures and write the document."""

import argparse
from pathlib import Path

from dev.bench.report import write
from dev.simulation import measures, report

SEEDS = 20
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
COMMAND, PLACE = "make simulate", "tables"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.simulation", description="Scaling policies and traces."
    )
    parser.add_argument("--quick", action="store_true", help="two seeds, short traces; writes no document")
    quick = parser.parse_args(arguments).quick
    seeds, at_most_days = (2, 1) if quick else (SEEDS, None)
    text = report.render(measures.run_all(report.all_runs(), seeds=seeds, at_most_days=at_most_days), seeds)
    print(text)
    if not quick:
        write(DOCUMENT, {PLACE: text}, COMMAND)


if __name__ == "__main__":
    main()
