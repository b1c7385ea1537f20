"""Videos, workers and an Auto Scaling group under one policy.

Times are seconds since the trace began. Between the scaling runs everything happens when it happens; a run
sees a view, and some seconds later the group is told.
"""

from __future__ import annotations

from collections import deque
from math import inf

import numpy as np

from dev.simulation.group import DELETION, MAX_WORKERS, Outcome, Worker, WorkerGroup
from dev.simulation.policies import Points, ScalingPolicy, View, point_of
from dev.simulation.traces import HOUR_S, ScheduledRun, Trace
from video_reclaim.scaling.records import Group, Safety

SILENCE_S = (120.0, 240.0)  # from a worker's death to its video being UPLOADED again
DELETION_S = 10.0
RESTART_S = 30.0  # a worker process that died is started again on its instance
DEATH_MEAN_S = 500 * HOUR_S  # encoding time between deaths of a worker process
RINGS_AFTER = 15  # minutes that the alarm WorkersIdle takes


class FleetSimulation(WorkerGroup):
    """One run of one trace under one policy, in a group of one safety that begins with ``start`` workers."""

    def __init__(
        self,
        trace: Trace,
        policy: ScalingPolicy,
        safety: Safety,
        seed: int,
        *,
        start: int | None = None,
        idle_timeout_s: float = inf,
    ) -> None:
        super().__init__(trace, safety, seed, start, idle_timeout_s)
        self.trace, self.policy = trace, policy
        self.waiting: deque[int] = deque()
        self.uploaded = self.encoding = 0
        self.ownerless = 0  # rows in PROCESSING whose worker is dead
        # Until when each of their instances stays in Terminating:Wait.
        self.lingering_until_s: list[float] = []
        self.begun_s = [-1.0] * len(trace.arrivals_s)
        self.published: tuple[Points, Points, Points] = ({}, {}, {})
        self.visible = self.idle_minutes = 0
        for job, at_s in enumerate(trace.arrivals_s):
            self.at(at_s, self._upload, job)
        for at_s in trace.deletions_s:
            self.at(at_s, self._receive, DELETION)
        self.at(trace.conditions.everybody_s[1], self._resume)

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        for scheduled in self.trace.runs:
            self.advance(scheduled.at_s)
            view = self._look(scheduled)
            asked = self.policy(view)
            if asked != self.desired:
                self.at(scheduled.at_s + scheduled.apply_after_s, self.apply, asked)
            backlog = None if view.uploaded is None else view.uploaded + (view.processing or 0)
            values = (backlog, asked, view.visible or 0)
            self.at(scheduled.readable_s, self._publish, view.minute, values)
        self.advance(self.trace.length_s)
        self._close()
        return self.outcome

    def _look(self, scheduled: ScheduledRun) -> View:
        """Give what a run can see, and count for how long WorkersIdle has had a reason to ring."""
        phantoms = sum(from_s <= self.now_s < to_s for from_s, to_s in self.trace.phantoms_s)
        processing = self.encoding + self.ownerless + phantoms
        lingering = sum(until_s > self.now_s for until_s in self.lingering_until_s)
        held_by_draining = lingering + sum(worker.encodes() for worker in self.draining)
        in_service = self.in_service()
        visible = self.visible if scheduled.queue_lags else len(self.waiting)
        self.visible = len(self.waiting)
        idle = self.uploaded and in_service > processing - held_by_draining
        self.idle_minutes = self.idle_minutes + scheduled.database if idle else 0
        self.outcome.rung += self.idle_minutes == RINGS_AFTER and scheduled.database
        return View(
            Group(self.conditions.low, MAX_WORKERS, self.desired, in_service, self.safety),
            *self.published,
            at_s=scheduled.at_s,
            uploaded=self.uploaded if scheduled.database else None,
            processing=processing if scheduled.database else None,
            held_by_draining=held_by_draining,
            visible=visible if scheduled.queue else None,
            readable=scheduled.cloudwatch,
        )

    def _publish(self, minute: int, values: tuple[float | None, float, float]) -> None:
        """Make a run's points readable: of each minute the maximum counts."""
        for points, value in zip(self.published, values, strict=True):
            if value is not None and (minute not in points or points[minute].value < value):
                points[minute] = point_of(minute, value)

    def _away(self) -> bool:
        """Tell whether the database is away for the workers."""
        from_s, to_s = self.conditions.everybody_s
        return from_s <= self.now_s < to_s

    def _upload(self, job: int) -> None:
        self.uploaded += 1
        self._receive(job)

    def _reclaim(self, job: int) -> None:
        if self._away():
            self.at(self.conditions.everybody_s[1], self._reclaim, job)
        else:
            self.ownerless -= 1
            self._upload(job)

    def _resume(self) -> None:
        while self.waiting and self.idle:
            self._begin(self.idle.popleft(), self.waiting.popleft())

    def _receive(self, job: int) -> None:
        self.waiting.append(job)
        if not self._away():
            self._resume()

    def _begin(self, worker: Worker, job: int) -> None:
        worker.job, worker.begun_s = job, self.now_s
        if job == DELETION:
            self.later(DELETION_S, self._finish, worker)
            return
        if self.begun_s[job] < 0:
            self.begun_s[job] = self.now_s
        self.uploaded -= 1
        self.encoding += 1
        length_s = self.trace.jobs_s[job]
        dies_s = self.random.expovariate(1 / DEATH_MEAN_S) if self.conditions.failures else inf
        if dies_s < length_s:
            self.later(dies_s, self._die, worker)
        else:
            self.later(length_s, self._finish, worker)

    def _finish(self, worker: Worker) -> None:
        if self._away():  # what it has done can't be written yet
            self.at(self.conditions.everybody_s[1], self.unless_gone, self._finish, worker)
            return
        if worker.job is not None and worker.encodes():
            self.outcome.work_s += self.trace.jobs_s[worker.job]
            self.encoding -= 1
        worker.job = None
        self.free(worker)

    def _die(self, worker: Worker) -> None:
        self._abandon(worker)
        self.later(RESTART_S, self.free, worker)

    def lose(self, worker: Worker) -> None:
        """Lose the video of an instance that has ended."""
        silent_s = self._abandon(worker)
        self.lingering_until_s.append(self.now_s + min(self.conditions.linger_s, silent_s))

    def _abandon(self, worker: Worker) -> float:
        """Leave the video's row in PROCESSING without a worker; return for how long."""
        silent_s = self.random.uniform(*SILENCE_S)
        self.encoding -= 1
        self.ownerless += 1
        self.at(self.now_s + silent_s, self._reclaim, worker.job)
        worker.job = None
        return silent_s

    def free(self, worker: Worker) -> None:
        """Go if chosen; else take the next message; without one stay idle."""
        if worker.draining:
            self.end(worker)
        elif self.waiting and not self._away():
            self._begin(worker, self.waiting.popleft())
        else:
            self.rest(worker)

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome, trace = self.outcome, self.trace
        for worker in (*self.members, *self.draining):
            outcome.instance_s += self.now_s - max(worker.born_s, 0)
            if worker.encodes():
                outcome.work_s += self.now_s - worker.begun_s
        begun_s, arrivals_s = np.array(self.begun_s), np.array(trace.arrivals_s)
        begun_s = np.where(begun_s < 0, trace.length_s, begun_s)
        outcome.waits_s = begun_s - arrivals_s
        bursts = [np.array(trace.burst_of) == burst for burst in range(max(trace.burst_of, default=-1) + 1)]
        outcome.drains_s = np.array([begun_s[one].max() - arrivals_s[one].min() for one in bursts])
