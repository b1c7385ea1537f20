"""The whole execution on the local stack, against the platform's own way and against the floor."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import redis

from dev.bench import academy, machine, rivals
from dev.bench.figures import RATIO, Figure, Goal, Growth, Section, Table, number, ratios
from dev.local.launch import RunningStack, running

TITLE = "A whole execution"
HOME = Path(__file__).resolve().parents[2] / "build" / "bench" / "stack"
SIZES = (40, 400, 4_000, 10_000)
SAMPLE = 750
LANES = 5  # as many as the workflow's Map

_POLL_S = 0.2
_WARM = 400


@dataclass(frozen=True, slots=True)
class Bench:
    """The stack that all contenders of one run share."""

    running: RunningStack
    floors: dict[int, rivals.Floor]

    def prepare(self, videos: int) -> None:
        """Make that many stale videos, an empty queue, an empty Redis."""
        stack = self.running.stack
        academy.fill(stack.postgres_dsn, processing=videos, stale=videos)
        client: redis.Redis = redis.Redis.from_url(stack.redis_url)
        client.flushall()
        client.close()
        stack.clients.sqs.purge_queue(QueueUrl=stack.queue_url)

    def check(self, videos: int) -> None:
        """Be sure that the work was done: a contender that leaves some out would be fast for nothing.

        Raises:
            RuntimeError: it was not.
        """
        stack = self.running.stack
        done = academy.count(stack.postgres_dsn, "status = 'UPLOADED' AND leased_by = ''")
        names = ["ApproximateNumberOfMessages"]
        told = stack.clients.sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=names)  # type: ignore[arg-type]
        sent = int(told["Attributes"][names[0]])  # type: ignore[index]
        if (done, sent) != (videos, videos):
            raise RuntimeError(f"of {videos} videos {done} are reclaimed and {sent} sent")

    def ours(self, videos: int) -> float:
        """Seconds from start_execution until the execution has succeeded, by the caller's clock."""
        self.prepare(videos)
        states, machine_arn = self.running.stack.clients.stepfunctions, self.running.stack.state_machine_arn
        began = time.time()
        execution = states.start_execution(stateMachineArn=machine_arn, input="{}")["executionArn"]
        while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            time.sleep(_POLL_S)
        if found["status"] != "SUCCEEDED":
            raise RuntimeError(f"the execution is {found['status']}: {found.get('cause')}")
        stopped: datetime = found["stopDate"]
        record = json.loads(found["output"])
        if record["enqueued"] != videos:
            raise RuntimeError(f"the execution enqueued {record['enqueued']} of {videos} videos")
        self.check(videos)
        return stopped.timestamp() - began

    def floor(self, videos: int, lanes: int) -> float:
        """Seconds for the floor, on as many lanes."""
        self.prepare(videos)
        return self._timed(videos, lambda: self.floors[lanes].run(range(1, videos + 1)))

    def platform(self, videos: int) -> float:
        """Seconds for the platform's way."""
        self.prepare(videos)
        stack = self.running.stack
        return self._timed(
            videos,
            lambda: rivals.platform(
                stack.postgres_dsn,
                stack.redis_url,
                stack.endpoint_url,
                stack.queue_url,
                range(1, videos + 1),
            ),
        )

    def _timed(self, videos: int, work: Callable[[], int]) -> float:
        began_s = time.perf_counter()
        sent = work()
        taken_s = time.perf_counter() - began_s
        if sent != videos:
            raise RuntimeError(f"{sent} of {videos} videos were sent")
        self.check(videos)
        return taken_s


@contextmanager
def bench(home: Path) -> Iterator[Bench]:
    """Start a stack and the floor's lanes, and warm all of it up."""
    with running(home) as started:
        stack = started.stack
        where = (stack.postgres_dsn, stack.endpoint_url, stack.queue_url)
        floors = {lanes: rivals.Floor(*where, lanes=lanes) for lanes in (1, LANES)}
        try:
            ready = Bench(started, floors)
            ready.ours(_WARM)
            for lanes in floors:
                ready.floor(_WARM, lanes)
            yield ready
        finally:
            for floor in floors.values():
                floor.close()


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Run all contenders in turn, so that each repeat pairs them."""
    sizes = (40, 400, 1_000) if quick else SIZES
    sample = 100 if quick else SAMPLE
    repeats = 2 if quick else 5
    biggest = sizes[-1]
    ours: dict[int, list[float]] = {size: [] for size in sizes}
    floor: dict[int, list[float]] = {size: [] for size in sizes}
    platform: list[float] = []
    by_lanes: dict[int, list[float]] = {1: [], LANES: []}
    with bench(HOME) as ready:
        for turn in range(repeats):
            for size in sizes:
                ours[size].append(ready.ours(size))
                lanes_s = {lanes: ready.floor(size, lanes) for lanes in by_lanes}
                floor[size].append(min(lanes_s.values()))
                if size == biggest:
                    for lanes, taken_s in lanes_s.items():
                        by_lanes[lanes].append(taken_s)
                told = f"{ours[size][-1]:.2f} s, floor {floor[size][-1]:.2f} s"
                say(f"{turn + 1}/{repeats}  {size:>6} videos: {told}")
            platform.append(ready.platform(sample) / sample)
            say(f"{turn + 1}/{repeats}  the platform's way: {platform[-1] * 1000:.1f} ms a video")
        whole_s = ready.platform(biggest)
        ready.ours(_WARM)  # the emulator has ended functions that had nothing to do meanwhile
        paired_s = ready.ours(biggest)
        say(f"the platform's way, all {biggest}: {whole_s:.0f} s; ours beside it {paired_s:.1f} s")
        spent = _where_the_time_goes(ready, biggest)
    ours_s = ours[biggest]
    name = f"{biggest:,} videos"
    faster = [a * biggest / b for a, b in zip(platform, ours_s, strict=True)]
    figures = [
        Figure(
            "faster_than_platform",
            f"{name}: times faster than the platform's way, on samples of {sample}",
            RATIO,
            faster,
            Goal("at least", 20),
            "higher",
        ),
        Figure(
            "faster_than_platform_whole",
            f"the same, the platform's way run over all {biggest:,} once",
            RATIO,
            [whole_s / paired_s],
            Goal("at least", 20),
            "higher",
        ),
        *(
            Figure(
                f"above_floor_{lanes}",
                f"{name}: times the floor on {lanes} lane{'s' if lanes > 1 else ''}",
                RATIO,
                ratios(ours_s, by_lanes[lanes]),
                Goal("at most", 1.5),
            )
            for lanes in by_lanes
        ),
        *_processor(spent),
        Figure("ours_s", f"{name}: start_execution to SUCCEEDED", "s", ours_s),
        Figure(
            "platform_ms", "the platform's way, one video", "ms", [taken_s * 1000 for taken_s in platform]
        ),
    ]
    growth = Table(
        "How it grows, medians in seconds",
        ("stale videos", "ours", "floor", "ours / floor", "the platform's way (from its sample)"),
        [
            (
                number(size),
                number(Figure("", "", "s", ours[size]).median),
                number(Figure("", "", "s", floor[size]).median),
                number(Figure("", "", "", ratios(ours[size], floor[size])).median),
                number(Figure("", "", "s", platform).median * size),
            )
            for size in sizes
        ],
    )
    median_platform_s = Figure("", "", "s", platform).median
    plot = Growth(
        "execution",
        "A whole execution on the local stack",
        "stale videos",
        "seconds",
        {
            "this product": [(size, Figure("", "", "", ours[size]).median) for size in sizes],
            "the floor": [(size, Figure("", "", "", floor[size]).median) for size in sizes],
            "the platform's way": [(size, median_platform_s * size) for size in sizes],
        },
    )
    return Section(
        "execution", TITLE, figures, _meaning(), [growth, _spent_table(spent, biggest)], growth=[plot]
    )


_KINDS = ("emulator", "Lambda workers", "PostgreSQL", "Valkey", "the floor's own client")


def _where_the_time_goes(ready: Bench, videos: int) -> dict[str, dict[str, float]]:
    """Processor time by kind of process: ours, and the floor on one lane; {} where it can't be read."""
    started = ready.running
    emulator, postgres = started.emulator.child.identity.pid, started.postgres.child.identity.pid
    valkey, lanes = started.valkey.child.identity.pid, ready.floors[1].processes()

    def look() -> dict[int, float]:
        seen: dict[int, float] = {}
        for process in (emulator, postgres, valkey, *lanes):
            seen |= machine.processor_s(process)
        return seen

    def kind(process: int) -> str:
        if process == emulator:
            return _KINDS[0]
        if process == valkey:
            return _KINDS[3]
        if process in lanes:
            return _KINDS[4]
        if "postgres" in machine.command_of(process):
            return _KINDS[2]
        function = machine.variable_of(process, "AWS_LAMBDA_FUNCTION_NAME")
        return f"Lambda {function.rpartition('-')[2]}" if function else _KINDS[1]

    spent = {}
    for name, work in (("ours", ready.ours), ("floor", lambda videos: ready.floor(videos, 1))):
        ready.prepare(videos)
        before = look()
        work(videos)
        by_kind = machine.processor_by(kind, before, look())
        spent[name] = {kind: taken for kind, taken in by_kind.items() if taken >= 0.01}
    return {name: kinds for name, kinds in spent.items() if kinds}


def _processor(spent: dict[str, dict[str, float]]) -> list[Figure]:
    if not spent:
        return []
    all_s = {name: sum(kinds.values()) for name, kinds in spent.items()}
    label = "processor time of all processes, times the floor's"
    return [Figure("processor", label, RATIO, [all_s["ours"] / all_s["floor"]])]


def _spent_table(spent: dict[str, dict[str, float]], videos: int) -> Table:
    kinds = sorted(
        {kind for kinds in spent.values() for kind in kinds}, key=lambda k: -spent["ours"].get(k, 0)
    )
    rows = [(kind, *(number(spent[name].get(kind, 0.0)) for name in ("ours", "floor"))) for kind in kinds]
    total = ("all", *(number(sum(spent[name].values())) for name in ("ours", "floor")))
    return Table(
        f"Where the time goes: processor seconds for {videos:,} videos, filling the tables included",
        ("process", "ours", "floor, one lane"),
        [*rows, total] if spent else [],
    )


def _meaning() -> str:
    return (
        "Everything here is real but AWS: PostgreSQL, Valkey, and the functions' own code in processes "
        "of their own, warm, under an emulator that is one process in Python. The platform's way is its "
        "management command statement by statement: EXISTS, SELECT … FOR UPDATE with three joins, "
        "UPDATE, a refresh, GetQueueUrl, SendMessage. The floor is one UPDATE per hundred videos and "
        "the SendMessageBatch calls, from clients that are warm, without a look, a fence, a handoff, a "
        "report or a workflow. On one lane it is what a script would do; on as many lanes as the "
        "workflow has, nothing could be faster here. The table of processor time says where the rest "
        "goes. Most of it is the same on both sides: the client of SQS and the emulator that answers "
        "it. What is ours to answer for is the second look and the heartbeats (Reclaim), the handoff "
        "lease and its end (PostgreSQL writes each row twice, into five indexes that are the "
        "platform's), and the report; the emulator's function calls and its interpreter are not there "
        "on AWS. Here all of it adds up on the machine's few cores, where AWS would run the lanes "
        "beside each other. The platform's way keeps one core busy at most, and the workflow all: so "
        "the load average above matters. Where others take their share of the cores, the ratios fall "
        "back to those of processor time. Tried, and kept: finding a batch by its ids whatever the "
        "statistics say, clearing its handoffs without a join, and sending the leases as one JSON text, "
        "all of which took from PostgreSQL's time. Tried, and left alone, since an execution's time with "
        "them could not be told from noise: boto3 without its validation of parameters, several "
        "SendMessageBatch calls at a time, and redis-py's parser in C, which speeds up the checking of "
        "heartbeats and would be one more native library in the bundle."
    )
