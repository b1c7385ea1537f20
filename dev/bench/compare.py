"""``python -m dev.bench.compare`` (`make bench-compare`): the last run against the stored one, by ratios alone.

Seconds differ from machine to machine and from hour to hour; ratios between contenders that ran side by side
differ much less. A ratio is worse when its median is a quarter worse than the stored one, and worse than every
stored repeat.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from dev.bench import report
from dev.bench.figures import RATIO, Figure, Section, number
from dev.definition import ROOT

BASELINE = ROOT / "dev" / "bench" / "results" / "baseline.json"
LAST = ROOT / "build" / "bench" / "last.json"
TOLERANCE = 1.25


def worse(then: Figure, now: Figure) -> bool:
    """Tell whether a ratio got worse by more than `TOLERANCE` times, and than every stored repeat."""
    if now.better == "lower":
        return now.median > then.median * TOLERANCE and now.median > max(then.values)
    return now.median < then.median / TOLERANCE and now.median < min(then.values)


def pairs(then: Mapping[str, Section], now: Mapping[str, Section]) -> list[tuple[Figure, Figure]]:
    """Return the ratios that both runs have, then and now."""
    stored = {(name, figure.key): figure for name, section in then.items() for figure in section.figures}
    return [
        (stored[name, figure.key], figure)
        for name, section in now.items()
        for figure in section.figures
        if figure.unit == RATIO and (name, figure.key) in stored
    ]


def main(last: Path = LAST, against: Path = BASELINE) -> int:
    """Print the comparison; return 1 if a ratio is worse, 2 if there is nothing to compare."""
    found = pairs(report.load(against).sections, report.load(last).sections)
    if not found:
        print(f"Nothing to compare: {last} or {against} is missing; run `make bench`", file=sys.stderr)
        return 2
    for then, now in found:
        print(
            f"{'WORSE' if worse(then, now) else '':5} {number(then.median):>8} → {number(now.median):>8}  {now.label}"
        )
    regressions = sum(worse(then, now) for then, now in found)
    print(f"{len(found)} ratios, {regressions} worse")
    return int(regressions > 0)


if __name__ == "__main__":
    sys.exit(main())
