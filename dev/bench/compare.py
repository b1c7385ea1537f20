"""``python -m dev.bench.compare`` (`make bench-compare`): the last run against a stored one, by ratios alone.

Seconds differ from machine to machine and from hour to hour; ratios between contenders that ran side by
side differ much less. A ratio is worse when it is a quarter worse than the stored one, and beyond the stored
spread.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.bench import report
from dev.bench.figures import RATIO, Figure, Section, number

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "results" / "baseline.json"
LAST = HERE.parents[1] / "build" / "bench" / "last.json"
TOLERANCE = 1.25


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio then and now.

    Attributes:
        section: where it belongs.
        label: what it is.
        then: the stored median.
        now: the median of the last run.
        worse: whether that is a regression.
    """

    section: str
    label: str
    then: float
    now: float
    worse: bool


def worse(then: Figure, now: Figure, tolerance: float) -> bool:
    """Tell whether a ratio got worse by more than ``tolerance`` times, and than ever in the stored run."""
    low, high = then.spread
    if now.better == "lower":
        return now.median > then.median * tolerance and now.median > high
    return now.median < then.median / tolerance and now.median < low


def compare(
    then: Mapping[str, Section], now: Mapping[str, Section], *, tolerance: float = TOLERANCE
) -> list[Change]:
    """The ratios that both runs have."""
    changes = []
    for name, section in now.items():
        stored = {figure.key: figure for figure in then[name].figures} if name in then else {}
        for figure in section.figures:
            if figure.unit == RATIO and figure.key in stored:
                old = stored[figure.key]
                changes.append(
                    Change(name, figure.label, old.median, figure.median, worse(old, figure, tolerance))
                )
    return changes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; return 1 if a ratio is worse, 2 if there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench.compare", description=__doc__)
    parser.add_argument("last", nargs="?", type=Path, default=LAST)
    parser.add_argument("--against", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    chosen = parser.parse_args(arguments)
    changes = compare(report.load(chosen.against), report.load(chosen.last), tolerance=chosen.tolerance)
    if not changes:
        print(
            f"Nothing to compare: {chosen.last} or {chosen.against} is missing; run `make bench`",
            file=sys.stderr,
        )
        return 2
    for change in changes:
        mark = "WORSE" if change.worse else "     "
        print(
            f"{mark}  {change.section:<13} {number(change.then):>8} → {number(change.now):>8}  {change.label}"
        )
    regressions = sum(change.worse for change in changes)
    print(f"{len(changes)} ratios, {regressions} worse")
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main())
