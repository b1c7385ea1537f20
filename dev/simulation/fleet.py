"""Videos, workers and an Auto Scaling group under one policy.

Times are seconds since the trace began. Between the scaling runs everything happens when it happens; a run
sees a view, and some seconds later the group is told, and launches or ends instances as AWS does.

Sources in AWS's documentation (EC2 Auto Scaling User Guide): "Control which Auto Scaling instances terminate
during scale in" (the group is blind to who is busy), "Use instance scale-in protection", "Amazon EC2 Auto Scaling
lifecycle hooks".
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dev.simulation import traces
from dev.simulation.policies import Observation, Points, ScalingPolicy, point_of
from dev.simulation.traces import ScheduledRun, Trace
from video_reclaim.scaling.records import Group, Safety

SURVIVE: tuple[Safety, ...] = ("protected", "hooked")
"""The groups in which a busy instance survives a scale-in: it can't be chosen, or a hook lets it finish first."""


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        waits_s: for each video, from upload to its first begin, or to the end.
        drains_s: for each burst: from its first upload until the last of its videos was begun, or to the end.
        instance_s: instance-seconds paid, boots and draining included.
        work_s: encoding done, without what was lost.
        killed: busy workers ended by a scale-in.
    """

    length_s: float
    waits_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drains_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    instance_s: float = 0.0
    work_s: float = 0.0
    killed: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """An instance with one worker, which encodes the video with the number ``job``."""

    born_s: float
    gone: bool = False
    job: int | None = None
    begun_s: float = 0.0


class FleetSimulation:
    """One run of one trace under one policy, in a group of one safety that begins with ``start`` workers.

    Attributes:
        ownerless: number of rows in PROCESSING whose instance has ended.
        members: what counts towards desired: draining instances do not.
        idle: workers without a job, those that have been idle for longest first.
        draining: chosen instances that finish an encode.
    """

    def __init__(
        self, trace: Trace, policy: ScalingPolicy, safety: Safety, seed: int, *, start: int | None = None
    ) -> None:
        self.trace, self.policy, self.safety, self.outcome = trace, policy, safety, Outcome(trace.length_s)
        self.random, self.now_s, self._order = random.Random(seed), 0.0, count()
        self._pending: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self.waiting: deque[int] = deque()
        self.encoding = self.ownerless = self.visible = 0
        self.begun_s = [-1.0] * len(trace.arrivals_s)
        self.published: tuple[Points, Points, Points] = ({}, {}, {})
        self.desired = trace.low if start is None else start
        self.members: list[Worker] = []
        self.idle: deque[Worker] = deque()
        self.draining: list[Worker] = []
        for _ in range(self.desired):  # as if they had booted before the trace began
            worker = self._launch()
            worker.born_s = -traces.PENDING_S
            self.idle.append(worker)
        for job, at_s in enumerate(trace.arrivals_s):
            self._at(at_s, self._upload, job)

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        for scheduled in self.trace.runs:
            self._advance(scheduled.at_s)
            view = self._look(scheduled)
            asked = self.policy(view)
            if asked != self.desired:
                self._at(scheduled.at_s + scheduled.apply_after_s, self._apply, asked)
            backlog = None if view.uploaded is None else view.uploaded + (view.processing or 0)
            values = (backlog, asked, view.visible or 0)
            self._at(scheduled.readable_s, self._publish, view.minute, values)
        self._advance(self.trace.length_s)
        self._close()
        return self.outcome

    def _at(self, at_s: float, do: Callable[..., object], *arguments: object) -> None:
        """Call something at a second of the trace; in the same second in the order in which it was added."""
        heappush(self._pending, (at_s, next(self._order), do, arguments))

    def _advance(self, until_s: float) -> None:
        """Let everything happen up to a second, that second included."""
        while self._pending and self._pending[0][0] <= until_s:
            self.now_s, _, do, arguments = heappop(self._pending)
            do(*arguments)
        self.now_s = until_s

    def _later(self, at_s: float, do: Callable[[Worker], None], worker: Worker) -> None:
        """Do something with a worker at a second, unless its instance is gone by then."""
        self._at(at_s, lambda: None if worker.gone else do(worker))

    # What a run sees and publishes

    def _look(self, scheduled: ScheduledRun) -> Observation:
        phantoms = sum(from_s <= self.now_s < to_s for from_s, to_s in self.trace.phantoms_s)
        processing = self.encoding + self.ownerless + phantoms
        in_service = sum(worker.born_s + traces.PENDING_S <= self.now_s for worker in self.members)
        visible = self.visible if scheduled.queue_lags else len(self.waiting)
        self.visible = len(self.waiting)
        return Observation(
            Group(self.trace.low, traces.MAX_WORKERS, self.desired, in_service, self.safety),
            *self.published,
            at_s=scheduled.at_s,
            uploaded=len(self.waiting) if scheduled.database else None,
            processing=processing if scheduled.database else None,
            held_by_draining=sum(worker.job is not None for worker in self.draining),
            visible=visible if scheduled.queue else None,
            readable=scheduled.cloudwatch,
        )

    def _publish(self, minute: int, values: tuple[float | None, float, float]) -> None:
        """Make a run's points readable: of each minute the maximum counts."""
        for points, value in zip(self.published, values, strict=True):
            if value is not None and (minute not in points or points[minute].value < value):
                points[minute] = point_of(minute, value)

    # Videos and workers

    def _upload(self, job: int) -> None:
        self.waiting.append(job)
        self._resume()

    def _reclaim(self, job: int) -> None:
        self.ownerless -= 1
        self._upload(job)

    def _resume(self) -> None:
        """Give waiting videos to idle workers."""
        while self.waiting and self.idle:
            worker, job = self.idle.popleft(), self.waiting.popleft()
            worker.job, worker.begun_s = job, self.now_s
            if self.begun_s[job] < 0:
                self.begun_s[job] = self.now_s
            self.encoding += 1
            self._later(self.now_s + self.trace.jobs_s[job], self._finish, worker)

    def _finish(self, worker: Worker) -> None:
        if worker.job is not None:
            self.outcome.work_s += self.trace.jobs_s[worker.job]
            self.encoding -= 1
        worker.job = None
        self._free(worker)

    def _free(self, worker: Worker) -> None:
        """Go if chosen; else take the next message; without one stay idle."""
        if worker in self.draining:
            self._end(worker)
            return
        self.idle.append(worker)
        self._resume()
        if worker.job is None and self.safety == "protected" and len(self.members) > self.desired:
            self._end(worker)  # the idle worker takes its protection off

    # The group and its instances

    def _apply(self, asked: int) -> None:
        """Set the desired capacity, and launch or end instances accordingly."""
        self.desired = asked
        self._fill_up()
        while len(self.members) > asked:
            candidates = list(self.idle) if self.safety == "protected" else self.members
            if not candidates:
                break  # all are protected: each goes when it next is idle
            worker = self.random.choice(candidates)
            if self.safety == "hooked" and worker.job is not None:
                self.members.remove(worker)
                self.draining.append(worker)
            else:
                self.outcome.killed += worker.job is not None
                self._end(worker)

    def _fill_up(self) -> None:
        while len(self.members) < self.desired:
            worker = self._launch()
            self._later(self.now_s + self.random.uniform(*traces.BOOT_S), self._free, worker)

    def _launch(self) -> Worker:
        worker = Worker(self.now_s)
        self.members.append(worker)
        if self.trace.failures:
            interrupted_s = self.now_s + self.random.expovariate(1 / traces.SPOT_MEAN_S)
            self._later(interrupted_s, self._interrupt, worker)
        return worker

    def _interrupt(self, worker: Worker) -> None:
        """Take a Spot instance away; the group replaces it."""
        self._end(worker)
        self._fill_up()

    def _end(self, worker: Worker) -> None:
        """End an instance; the row of the video that it works on stays in PROCESSING until it is found silent."""
        worker.gone = True
        self.outcome.instance_s += self.now_s - max(worker.born_s, 0)
        (self.draining if worker in self.draining else self.members).remove(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        if worker.job is not None:
            self.encoding -= 1
            self.ownerless += 1
            self._at(self.now_s + self.random.uniform(*traces.SILENCE_S), self._reclaim, worker.job)
            worker.job = None

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome, trace = self.outcome, self.trace
        for worker in (*self.members, *self.draining):
            outcome.instance_s += self.now_s - max(worker.born_s, 0)
            if worker.job is not None:
                outcome.work_s += self.now_s - worker.begun_s
        begun_s, arrivals_s = np.array(self.begun_s), np.array(trace.arrivals_s)
        begun_s = np.where(begun_s < 0, trace.length_s, begun_s)
        outcome.waits_s = begun_s - arrivals_s
        bursts = [np.array(trace.burst_of) == burst for burst in range(max(trace.burst_of, default=-1) + 1)]
        outcome.drains_s = np.array([begun_s[one].max() - arrivals_s[one].min() for one in bursts])
