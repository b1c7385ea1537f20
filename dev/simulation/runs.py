"""All runs, spread over processes."""

from __future__ import annotations

from collections.abc import Iterable
from multiprocessing import get_context
from typing import NamedTuple

from dev.simulation.policies import CONTENDERS, make_policy
from dev.simulation.traces import TRACES, make_trace
from dev.simulation.world import MAX_WORKERS, MIN_WORKERS, Outcome, World
from video_reclaim.scaling import Policy

WINDOWS_S = (120, 300, 600, 900, 1200, 1800, 3600)
VIDEOS_PER_WORKER = (1, 2, 3)
TRADE_OFF_TRACES = ("diurnal with bursts", "endless trickle", "phantom rows")
"""The mass upload is ruled by the group's maximum, the quiet week by its minimum, whatever the settings."""

PROTECTED, UNPROTECTED = CONTENDERS[:2]


class Run(NamedTuple):
    """One run's name; the policy's settings only when they are not the defaults."""

    trace: str
    contender: str
    seed: int
    policy: Policy = Policy()


class _Task(NamedTuple):
    runs: tuple[Run, ...]
    at_most_days: int | None


def all_runs(
    seeds: int, trade_off_seeds: int, *, processes: int, at_most_days: int | None = None
) -> dict[Run, Outcome]:
    """Run every contender on every trace with every seed, and the settings of the trade-off curves.

    Args:
        seeds: How many seeds the comparison has.
        trade_off_seeds: How many of them the curves use.
        processes: How many processes to spread the work over.
        at_most_days: Cuts the traces.
    """
    tasks = [
        _Task(tuple(Run(trace, contender, seed) for contender in CONTENDERS), at_most_days)
        for trace in TRACES
        for seed in range(seeds)
    ]
    curve = [(PROTECTED, Policy(scale_in_window_s=window_s)) for window_s in WINDOWS_S]
    curve += [(UNPROTECTED, Policy(videos_per_worker=videos)) for videos in VIDEOS_PER_WORKER]
    tasks += [
        _Task(
            tuple(Run(trace, contender, seed, policy) for contender, policy in curve if policy != Policy()),
            at_most_days,
        )
        for trace in TRADE_OFF_TRACES
        for seed in range(trade_off_seeds)
    ]
    outcomes: dict[Run, Outcome] = {}
    if processes == 1:
        for task in tasks:
            outcomes.update(_work(task))
        return outcomes
    # Spawned, not forked: the same on every system, and no threads of the parent's to trip over.
    with get_context("spawn").Pool(processes) as pool:
        for done in pool.imap_unordered(_work, tasks):
            outcomes.update(done)
    return outcomes


def _work(task: _Task) -> Iterable[tuple[Run, Outcome]]:
    first = task.runs[0]
    trace = make_trace(first.trace, first.seed, task.at_most_days)
    done = []
    for run in task.runs:
        policy = make_policy(run.contender, MIN_WORKERS, MAX_WORKERS, run.policy)
        drawn = run.seed == 0 and run.policy == Policy()
        done.append((run, World(trace, policy, run.seed, record=drawn).run()))
    return done
