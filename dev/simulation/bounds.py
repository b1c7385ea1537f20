"""What no policy can beat at the service of a fleet that always runs at its maximum.

docs/scaling.md says how it is computed and why its levels are independent ("Clairvoyant bound"). The group's minimum
always runs, the maximum is never exceeded, a boot costs its mean time.
"""

from collections.abc import Sequence
from heapq import heapreplace
from typing import NamedTuple

from dev.simulation.traces import BOOT_S, MAX_WORKERS, Trace

BOOT_MEAN_S = sum(BOOT_S) / 2
Spans = list[tuple[float, float]]


class Bound(NamedTuple):
    """Instance-seconds of the clairvoyant, and the encoding done within the trace."""

    instance_s: float
    work_s: float


def clairvoyant(trace: Trace) -> Bound:
    """Compute the bound of a trace."""
    free_s = [0.0] * MAX_WORKERS
    busy: Spans = []
    for at_s, length_s in zip(trace.arrivals_s, trace.jobs_s, strict=True):
        from_s = max(at_s, free_s[0])
        heapreplace(free_s, from_s + length_s)
        if from_s < trace.length_s:
            busy.append((from_s, min(from_s + length_s, trace.length_s)))
    low = trace.low
    instance_s = low * trace.length_s + sum(map(_cost, _levels(busy)[low:]))
    return Bound(instance_s, sum(to_s - from_s for from_s, to_s in busy))


def _levels(spans: Spans) -> list[Spans]:
    """Give for each k when at least k + 1 spans are open."""
    levels: list[Spans] = []
    since_s: list[float] = []
    for at_s, change in sorted([(to_s, -1) for _, to_s in spans] + [(from_s, 1) for from_s, _ in spans]):
        if change > 0:
            since_s.append(at_s)
            if len(since_s) > len(levels):
                levels.append([])
        else:
            from_s = since_s.pop()
            levels[len(since_s)].append((from_s, at_s))
    return levels


def _cost(spans: Sequence[tuple[float, float]]) -> float:
    """Give what one level costs: it boots before each span, or runs on where that is cheaper."""
    total_s, until_s = 0.0, -BOOT_MEAN_S
    for from_s, to_s in sorted(spans):
        if to_s > until_s:
            total_s += min(max(from_s - until_s, 0.0), BOOT_MEAN_S) + to_s - max(from_s, until_s)
            until_s = to_s
    return total_s
