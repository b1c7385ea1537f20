"""Processor time of a whole execution: functions, PostgreSQL and Redis, against the floor's."""

from statistics import median

from dev.bench import machine
from dev.bench.deployed import Deployed, deployed
from dev.bench.figures import RATIO, Figure, Say, Section, Table, number, ratios
from dev.bench.rivals import Floor

TITLE = "Processor time"

EMULATOR, POSTGRES, VALKEY, CLIENT = "the emulator", "PostgreSQL", "Valkey", "the floor's own client"


def measure(*, quick: bool, say: Say) -> Section:
    """Read the processor time of every process before and after a run of each contender, in turn.

    Raises RuntimeError where the system has no /proc.
    """
    videos, repeats = (1_000, 1) if quick else (10_000, 5)
    runs: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    with deployed() as here, Floor(here.places, lanes=1) as lane:
        for turn in range(repeats):
            for by_floor, spent in runs.items():
                spent.append(_spent(here, lane, videos, by_floor=by_floor))
            say(f"{turn + 1}/{repeats}  {_own(runs[False][-1]):.2f} s, floor {_own(runs[True][-1]):.2f} s")
    ours, floor = runs[False], runs[True]
    if not any(map(_own, floor)):
        raise RuntimeError("processor time can't be read: this system has no /proc")
    label = f"{videos:,} videos: functions, PostgreSQL and Valkey, times the floor's"
    figure = Figure("processor", label, RATIO, ratios([*map(_own, ours)], [*map(_own, floor)]), 1.6)
    seconds = {
        kind: [median(run.get(kind, 0.0) for run in of) for of in (ours, floor)]
        for kind in {kind for run in (*ours, *floor) for kind in run}
    }
    rows = [
        (kind, *map(number, medians))
        for kind, medians in sorted(seconds.items(), key=lambda item: -item[1][0])
    ]
    table = Table(
        f"Processor seconds for {videos:,} videos", ("process", "this product", "the floor, one lane"), rows
    )
    return Section("processor", TITLE, [figure], [table])


def _own(spent: dict[str, float]) -> float:
    return sum(seconds for kind, seconds in spent.items() if kind != EMULATOR)


def _spent(here: Deployed, lane: Floor, videos: int, *, by_floor: bool) -> dict[str, float]:
    """Return the processor seconds of one run, by kind of process."""
    started = here.running
    roots = {
        started.emulator.child.identity.pid: EMULATOR,
        started.postgres.child.identity.pid: POSTGRES,
        started.valkey.child.identity.pid: VALKEY,
        **dict.fromkeys(lane.processes(), CLIENT),
    }

    def read() -> dict[str, float]:
        spent: dict[str, float] = {}
        for root, kind in roots.items():
            for process, seconds in machine.processor_s(root).items():
                function = machine.variable_of(process, "AWS_LAMBDA_FUNCTION_NAME").rpartition("-")[2]
                spent[function or kind] = spent.get(function or kind, 0.0) + seconds
        return spent

    here.prepare(videos)
    before = read()
    if by_floor:
        lane.run(range(1, videos + 1))
    else:
        here.reclaim(videos)
    spent = {kind: seconds - before.get(kind, 0.0) for kind, seconds in read().items()}
    here.check(videos)
    return {kind: seconds for kind, seconds in spent.items() if seconds >= 0.01}
