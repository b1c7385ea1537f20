"""The goals of the scaling decision, and whether a comparison meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dev.simulation.fleet import SAFETIES
from dev.simulation.measures import Interval
from dev.simulation.policies import MAXIMUM, RECLAIM
from dev.simulation.traces import TRACES
from video_reclaim.scaling.records import Safety

Summary = dict[str, Interval]
Find = Callable[[str, str, Safety], Summary]
"""Gives the figures of a trace, a contender and a kind of group."""

MASS_UPLOAD = "mass upload"
COST_OVER_CLAIRVOYANT = {
    "diurnal with bursts": 1.15,
    "endless trickle": 1.15,
    MASS_UPLOAD: 1.15,
    "quiet week": 1.05,
    "phantom rows": 1.25,
}
COST_OVER_BLIND = 1.2
DRAIN_P95_MIN = 10.0
DRAIN_P95_OVER_MAXIMUM = 1.02
WAIT_MEAN_MIN = 2.0


class Verdict(NamedTuple):
    """One goal on one trace.

    Attributes:
        goal: What must be at most the limit.
        trace: Where.
        limit: The limit; None: only shown, since the decision has no influence on it.
        values: What was measured, for each kind of group; None: the goal is not set for it, or there is no
            burst.
        best: What the fleet that always runs at its maximum has, where no policy can be better.
    """

    goal: str
    trace: str
    limit: float | None
    values: tuple[float | None, ...]
    best: float | None = None

    def missed(self) -> bool:
        """Tell whether any kind of group misses it."""
        return any(self.misses(value) for value in self.values)

    def misses(self, value: float | None) -> bool:
        """Tell whether this value misses it."""
        return self.limit is not None and value is not None and value > self.limit


def verdicts(find: Find) -> Iterator[Verdict]:
    """Compare our own decision with every goal.

    A group rebalances whatever its desired capacity: busy workers that end that way are shown without a limit.
    """
    for trace in TRACES:
        ours = [find(trace, RECLAIM, safety) for safety in SAFETIES]
        most = find(trace, MAXIMUM, "unprotected")
        yield Verdict("busy workers ended a day by a scale-in", trace, 0.0, _values(ours, "killed"))
        yield Verdict("busy workers ended a day by rebalancing", trace, None, _values(ours, "rebalanced"))
        best = most["wait_mean_min"].value if trace == MASS_UPLOAD else None
        yield Verdict("mean wait, min", trace, WAIT_MEAN_MIN, _values(ours, "wait_mean_min"), best)
        drains = _values(ours, "drain_p95_min")
        if trace == MASS_UPLOAD:
            ratios = tuple(drain / most["drain_p95_min"].value for drain in drains if drain is not None)
            yield Verdict("drain p95 / always the maximum", trace, DRAIN_P95_OVER_MAXIMUM, ratios)
        elif None not in drains:
            yield Verdict("drain p95, min", trace, DRAIN_P95_MIN, drains)
        over_clairvoyant = (*_values(ours[:-1], "over_clairvoyant"), None)
        yield Verdict("cost / clairvoyant", trace, COST_OVER_CLAIRVOYANT[trace], over_clairvoyant)
        over_blind = (None,) * (len(SAFETIES) - 1) + _values(ours[-1:], "over_blind")
        yield Verdict("cost / blind bound", trace, COST_OVER_BLIND, over_blind)


def _values(summaries: list[Summary], key: str) -> tuple[float | None, ...]:
    values = (summary[key].value for summary in summaries)
    return tuple(None if value != value else value for value in values)  # NaN: nothing to measure
