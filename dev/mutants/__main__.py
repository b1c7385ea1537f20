"""Deliberate mistakes in the product, and whether its tests notice: ``python -m dev.mutants [AREA…]``.

An AREA is a row of the table; none is all of them. The full list is written to build/mutants/mutants.txt. The exit
code is 1 if an area, or all together, are below the least score, or if an entry of equivalent.json is out of date.
"""

import argparse
import importlib
import os
import sys
import time

from dev.definition import ROOT
from dev.mutants import report
from dev.mutants.outcome import Outcome

RUNNERS = ("workflow", "templates", "functions")
LIST = ROOT / "build" / "mutants" / "mutants.txt"


def main() -> int:
    """Run the mutants, print the scores, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.mutants", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help="workflow, templates, functions, or a row")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 2)
    given = parser.parse_args()
    equivalents, outcomes, started_s = report.Equivalents.load(), list[Outcome](), time.monotonic()
    for runner in [one for one in RUNNERS if one in given.areas] or RUNNERS:
        outcomes += importlib.import_module(f"dev.mutants.{runner}").run(given.processes)
        print(f"{runner}: {time.monotonic() - started_s:.0f} s", flush=True)
    rows = set(given.areas) - set(RUNNERS)
    outcomes = equivalents.mark(one for one in outcomes if not rows or one.area in rows)
    report.write(outcomes, LIST)
    report.show(outcomes)
    unused = equivalents.unused(outcomes)
    for entry in unused:
        print(f"equivalent.json is out of date: {entry}")
    return 0 if report.passes(outcomes) and not unused else 1


if __name__ == "__main__":
    sys.exit(main())
