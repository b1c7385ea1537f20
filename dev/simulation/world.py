"""The world that a policy scales: videos, workers, an Auto Scaling group, and metrics that arrive late.

Times are seconds since the trace began. Between the ticks everything happens when it happens; once a minute
the policy sees a view, and a moment later the group is told.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from operator import attrgetter

from dev.simulation.policies import EPOCH, ScalingPolicy, View
from dev.simulation.traces import Trace
from video_reclaim.scaling import Point

TICK_S = 60
TICK_OFFSET_S = 7.0
APPLY_AFTER_S = 2.0
"""Between measuring and SetDesiredCapacity; whatever changes meanwhile, the decision does not know."""

BOOT_S = (150.0, 240.0)
LAG_MEAN_S = 25.0
SILENCE_S = (120.0, 240.0)
"""From a worker's death to its video being UPLOADED again: heartbeat gone, then confirmed."""

ZONES = 3
MIN_WORKERS = 1
MAX_WORKERS = 20
_NOTHING: frozenset[str] = frozenset()
_stamp = attrgetter("at")


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        waits_s: For each video that was begun, from upload to its first begin; for the others, to the end.
        drains_s: For each burst of the trace: from its first upload until the last of its videos was begun,
            or to the end.
        instance_s: Instance-seconds paid, boots included.
        needed_s: What hindsight would have paid: the busy workers, and the minimum when fewer are.
        work_s: Encoding done, without what was lost.
        lost_s: Encoding thrown away because the group ended a busy worker.
        killed: Busy workers ended by the group.
        turns: Times that the desired capacity went the other way than before.
        length_s: How long the run was.
        series: Per tick: seconds, backlog, desired, instances; only if asked for.
    """

    waits_s: list[float] = field(default_factory=list)
    drains_s: list[float] = field(default_factory=list)
    instance_s: float = 0.0
    needed_s: float = 0.0
    work_s: float = 0.0
    lost_s: float = 0.0
    killed: int = 0
    turns: int = 0
    length_s: float = 0.0
    series: list[tuple[float, int, int, int]] = field(default_factory=list)


class _Job:
    __slots__ = ("arrived_s", "begun", "burst", "length_s")

    def __init__(self, arrived_s: float, length_s: float, burst: int) -> None:
        self.arrived_s = arrived_s
        self.burst = burst
        self.length_s = length_s
        self.begun = False


class _Worker:
    __slots__ = ("begun_s", "born_s", "gone", "job", "ready", "zone")

    def __init__(self, born_s: float, zone: int) -> None:
        self.born_s = born_s
        self.zone = zone
        self.ready = False
        self.gone = False
        self.job: _Job | None = None
        self.begun_s = 0.0


class World:
    """One run of one trace under one policy."""

    def __init__(
        self,
        trace: Trace,
        policy: ScalingPolicy,
        seed: int,
        *,
        low: int = MIN_WORKERS,
        high: int = MAX_WORKERS,
        start: int | None = None,
        record: bool = False,
    ) -> None:
        self.trace = trace
        self.policy = policy
        self.low, self.high = low, high
        self.record = record
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.desired = low if start is None else start
        self.waiting: deque[_Job] = deque()
        self.bursts: dict[int, list[float]] = {}  # first upload, last begin
        self.workers: list[_Worker] = []
        self.idle: deque[_Worker] = deque()
        self.busy = 0
        self.busy_since_s = 0.0
        self.ownerless = 0  # rows in PROCESSING without a worker
        self.direction = 0
        self.points: list[Point] = []
        self.late_points: list[tuple[float, Point]] = []
        self.kept_points = policy.looks_back_s // TICK_S + 2
        self.down: dict[int, set[str]] = {}
        for source, from_s, to_s in trace.outages_s:
            for minute in range(int(from_s // TICK_S), int(to_s // TICK_S) + 1):
                self.down.setdefault(minute, set()).add(source)
        self.outcome = Outcome(length_s=trace.length_s)
        self.order = count()
        self.events: list[tuple[float, int, str, object]] = []
        for _ in range(self.desired):
            worker = self._launch()
            worker.ready = True
            self.idle.append(worker)

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        trace = self.trace
        for at_s, length_s, burst in zip(trace.arrivals_s, trace.jobs_s, trace.burst_of, strict=True):
            self.events.append((at_s, next(self.order), "arrive", _Job(at_s, length_s, burst)))
            if burst >= 0:
                self.bursts.setdefault(burst, [at_s, at_s])
        for from_s, to_s in trace.phantoms_s:
            self.events.append((from_s, next(self.order), "phantom", 1))
            self.events.append((to_s, next(self.order), "phantom", -1))
        heapify(self.events)
        tick_s = TICK_OFFSET_S
        while tick_s < trace.length_s:
            self._advance(tick_s)
            asked = self.policy.ask(self._view())
            if asked != self.desired:
                self._after(APPLY_AFTER_S, "apply", asked)
            tick_s += TICK_S
        self._advance(trace.length_s)
        self._close()
        return self.outcome

    def _after(self, delay_s: float, kind: str, what: object) -> None:
        heappush(self.events, (self.now_s + delay_s, next(self.order), kind, what))

    def _advance(self, until_s: float) -> None:
        events = self.events
        while events and events[0][0] <= until_s:
            self.now_s, _, kind, what = heappop(events)
            if kind == "arrive":
                assert isinstance(what, _Job)
                self._enqueue(what)
            elif kind == "done":
                assert isinstance(what, tuple)
                self._finish(*what)
            elif kind == "ready":
                assert isinstance(what, _Worker)
                if not what.gone:
                    what.ready = True
                    self._free(what)
            elif kind == "apply":
                assert isinstance(what, int)
                self._apply(what)
            elif kind == "reclaimed":
                assert isinstance(what, _Job)
                self.ownerless -= 1
                self._enqueue(what)
            else:
                assert isinstance(what, int)
                self.ownerless += what
        self.now_s = until_s

    def _enqueue(self, job: _Job) -> None:
        if self.idle:
            self._begin(self.idle.popleft(), job)
            return
        self.waiting.append(job)

    def _begin(self, worker: _Worker, job: _Job) -> None:
        if not job.begun:
            job.begun = True
            self.outcome.waits_s.append(self.now_s - job.arrived_s)
            if job.burst >= 0:
                self.bursts[job.burst][1] = self.now_s
        worker.job = job
        worker.begun_s = self.now_s
        self._count_busy(1)
        self._after(job.length_s, "done", (worker, job))

    def _finish(self, worker: _Worker, job: _Job) -> None:
        if worker.gone:
            return
        self.outcome.work_s += job.length_s
        worker.job = None
        self._count_busy(-1)
        self._free(worker)

    def _count_busy(self, change: int) -> None:
        self.outcome.needed_s += max(self.busy, self.low) * (self.now_s - self.busy_since_s)
        self.busy_since_s = self.now_s
        self.busy += change

    def _free(self, worker: _Worker) -> None:
        """Take the next video; without one stay idle, which a protected fleet's surplus does not survive."""
        if self.waiting:
            self._begin(worker, self.waiting.popleft())
            return
        self.idle.append(worker)
        if self.policy.protects and len(self.workers) > self.desired:
            self._end(worker)

    def _apply(self, asked: int) -> None:
        if asked == self.desired:
            return
        direction = 1 if asked > self.desired else -1
        if self.direction and direction != self.direction:
            self.outcome.turns += 1
        self.direction = direction
        self.desired = asked
        while len(self.workers) < asked:
            self._after(self.rng.uniform(*BOOT_S), "ready", self._launch())
        while len(self.workers) > asked:
            victim = self._choose_victim()
            if victim is None:
                break  # all are protected: each goes when it next is idle
            self._end(victim)

    def _launch(self) -> _Worker:
        """Launch where the fewest are."""
        sizes = self._zone_sizes()
        worker = _Worker(self.now_s, sizes.index(min(sizes)))
        self.workers.append(worker)
        return worker

    def _zone_sizes(self) -> list[int]:
        sizes = [0] * ZONES
        for worker in self.workers:
            sizes[worker.zone] += 1
        return sizes

    def _choose_victim(self) -> _Worker | None:
        """Choose as the group does: in the fullest zone that has a candidate, blind to who is busy."""
        candidates = list(self.idle) if self.policy.protects else self.workers
        if not candidates:
            return None
        sizes = self._zone_sizes()
        fullest = max(sizes[worker.zone] for worker in candidates)
        return self.rng.choice([worker for worker in candidates if sizes[worker.zone] == fullest])

    def _end(self, worker: _Worker) -> None:
        worker.gone = True
        self.workers.remove(worker)
        self.outcome.instance_s += self.now_s - worker.born_s
        if worker.job is not None:
            self._count_busy(-1)
            self.outcome.killed += 1
            self.outcome.lost_s += self.now_s - worker.begun_s
            self.ownerless += 1
            self._after(self.rng.uniform(*SILENCE_S), "reclaimed", worker.job)
        elif worker.ready:
            self.idle.remove(worker)

    def _view(self) -> View:
        down = self.down.get(int(self.now_s // TICK_S), _NOTHING)
        processing = self.busy + self.ownerless
        backlog = len(self.waiting) + processing
        view = View(at_s=self.now_s, desired=self.desired, in_service=self.busy + len(self.idle))
        view.unprotected = len(self.idle) if self.policy.protects else view.in_service
        if "queue" not in down:
            view.visible = len(self.waiting)
            view.in_flight = self.busy if self.policy.holds_messages else 0
        if "database" not in down:
            view.uploaded, view.processing = len(self.waiting), processing
        if "cloudwatch" not in down:
            if "database" not in down:
                minute = EPOCH + timedelta(seconds=self.now_s // TICK_S * TICK_S)
                readable_s = self.now_s + self.rng.expovariate(1 / LAG_MEAN_S)
                self.late_points.append((readable_s, Point(minute, float(backlog))))
            view.points = self._read_back()
        if self.record:
            self.outcome.series.append((self.now_s, backlog, self.desired, len(self.workers)))
        return view

    def _read_back(self) -> tuple[Point, ...]:
        """Give the points that can be read by now, oldest first."""
        arrived = [point for readable_s, point in self.late_points if readable_s <= self.now_s]
        if arrived:
            self.late_points = [late for late in self.late_points if late[0] > self.now_s]
            self.points += arrived
            self.points.sort(key=_stamp)  # one may overtake another
            del self.points[: -self.kept_points]
        return tuple(self.points)

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome = self.outcome
        self._count_busy(0)
        for worker in self.workers:
            outcome.instance_s += self.now_s - worker.born_s
            if worker.job is not None:
                outcome.work_s += self.now_s - worker.begun_s
        for job in self.waiting:
            if not job.begun:
                outcome.waits_s.append(self.now_s - job.arrived_s)
                if job.burst >= 0:
                    self.bursts[job.burst][1] = self.now_s
        outcome.drains_s.extend(last_s - first_s for first_s, last_s in self.bursts.values())
