"""``python -m dev.simulation``: run all policies on all traces, print the figures and write the document."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dev.simulation import measures, report

SEEDS = 20
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; it always returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.simulation", description="Scaling policies and traces."
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two seeds, short traces; writes no document")
    parser.add_argument(
        "--docs", type=Path, default=None, help=f"document to write, {DOCUMENT.name} by default"
    )
    chosen = parser.parse_args(arguments)
    seeds = 2 if chosen.quick else chosen.seeds
    started_s = time.monotonic()
    found = measures.run_all(
        report.all_runs(), seeds=seeds, processes=chosen.processes, at_most_days=1 if chosen.quick else None
    )
    text = report.render(found, seeds)
    print(text)
    document: Path | None = chosen.docs or (None if chosen.quick else DOCUMENT)
    if document is not None:
        report.write(document, text)
    print(f"{len(found) * seeds} runs, {time.monotonic() - started_s:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
