"""Videos, workers and an Auto Scaling group under one policy.

Times are seconds since the trace began. Between the scaling runs everything happens when it happens; a run
sees a view, and some seconds later the group is told.
"""

from __future__ import annotations

import random
from collections import deque

import numpy as np

from dev.simulation.events import Events
from dev.simulation.group import DELETION, MAX_WORKERS, Outcome, Worker, WorkerGroup
from dev.simulation.policies import PAD_MINUTES, ScalingPolicy, View, point_of
from dev.simulation.traces import HOUR_S, MINUTE_S, Trace
from video_reclaim.scaling.records import Safety

SILENCE_S = (120.0, 240.0)  # from a worker's death to its video being UPLOADED again
DELETION_S = 10.0
RESTART_S = 30.0  # a worker process that died is started again on its instance
DEATH_MEAN_S = 500 * HOUR_S  # encoding time between deaths of a worker process
RINGS_AFTER = 15  # minutes that the alarm WorkersIdle takes
Published = tuple[float, int, tuple[float | None, float, float]]
"""When a run's points can be read, their minute, and BacklogCount, DesiredWorkers and the queue's depth."""


class FleetSimulation:
    """One run of one trace under one policy, in a group of one safety."""

    def __init__(
        self,
        trace: Trace,
        policy: ScalingPolicy,
        safety: Safety,
        seed: int,
        *,
        high: int = MAX_WORKERS,
        start: int | None = None,
        failures: bool = True,
    ) -> None:
        self.trace, self.policy, self.high, self.failures = trace, policy, high, failures
        self.low = trace.conditions.low
        self.random = random.Random(seed)
        self.waiting: deque[int] = deque()
        self.uploaded = self.encoding = 0
        self.ownerless = 0  # rows in PROCESSING without a worker
        self.lingering = 0  # those of them whose dead instance is still in Terminating:Wait
        self.begun_s = [-1.0] * len(trace.arrivals_s)
        self.outcome = Outcome(length_s=trace.length_s)
        self.events = Events()
        self.group = WorkerGroup(
            self.events,
            self.outcome,
            self.random,
            self._lose_instance,
            safety=safety,
            conditions=trace.conditions,
            start=self.low if start is None else start,
            failures=failures,
            idle_timeout_s=policy.idle_timeout_s,
        )
        self.events.handlers = {
            "upload": self._upload,
            "deletion": self._receive,
            "done": self._finish,
            "died": self._die,
            "ready": self._boot,
            "reclaimed": self._reclaim,
            "phantom": self._count_phantom,
            "lingered": self._count_lingering,
            "database back": self._resume,
            **self.group.handlers(),
        }
        self._script()

    def _script(self) -> None:
        """Add what the trace says."""
        trace, at = self.trace, self.events.at
        for job, at_s in enumerate(trace.arrivals_s):
            at(at_s, "upload", job)
        for at_s in trace.deletions_s:
            at(at_s, "deletion", DELETION)
        for from_s, to_s in trace.phantoms_s:
            at(from_s, "phantom", 1)
            at(to_s, "phantom", -1)
        at(trace.conditions.everybody_s[1], "database back", None)

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        trace, group, events = self.trace, self.group, self.events
        padded = int(trace.length_s // MINUTE_S) + PAD_MINUTES + 2
        view = View(safety=group.safety, low=self.low, high=self.high)
        view.points, view.wanted, view.depths = [None] * padded, [None] * padded, [None] * padded
        late: list[Published] = []
        visible = idle_minutes = 0
        for at_s, database, queue, cloudwatch, readable_s, queue_lags, apply_after_s in trace.runs:
            events.advance(at_s)
            late = self._arrive(late, view)
            processing = self.encoding + self.ownerless
            view.at_s, view.minute = at_s, int(at_s // MINUTE_S) + PAD_MINUTES
            view.desired, view.in_service = group.desired, group.in_service()
            view.uploaded = self.uploaded if database else None
            view.processing = processing if database else None
            view.held_by_draining = self.lingering + sum(worker.encodes() for worker in group.draining)
            if not queue_lags:
                visible = len(self.waiting)
            view.visible = visible if queue else None
            visible = len(self.waiting)
            view.readable = cloudwatch
            asked = self.policy.ask(view)
            if asked != group.desired:
                events.at(at_s + apply_after_s, "apply", asked)
            if readable_s < trace.length_s:
                backlog = float(self.uploaded + processing) if database else None
                late.append((readable_s, view.minute, (backlog, float(asked), view.visible or 0.0)))
            busy = processing - view.held_by_draining
            idle_minutes = idle_minutes + database if self.uploaded and view.in_service > busy else 0
            self.outcome.rung += idle_minutes == RINGS_AFTER and bool(database)
            self.outcome.series.append((group.desired, len(group.members) + len(group.draining)))
        events.advance(trace.length_s)
        self._close()
        return self.outcome

    def _arrive(self, late: list[Published], view: View) -> list[Published]:
        """Put what can be read by now among the points; give the rest."""
        for readable_s, minute, values in late:
            if readable_s <= self.events.now_s:
                for points, value in zip((view.points, view.wanted, view.depths), values, strict=True):
                    present = points[minute]
                    if value is not None and (present is None or present.value < value):
                        points[minute] = point_of(minute, value)
        return [point for point in late if point[0] > self.events.now_s]

    def _away(self) -> bool:
        """Tell whether the database is away for the workers."""
        from_s, to_s = self.trace.conditions.everybody_s
        return from_s <= self.events.now_s < to_s

    def _upload(self, job: int) -> None:
        self.uploaded += 1
        self._receive(job)

    def _reclaim(self, job: int) -> None:
        if self._away():
            self.events.at(self.trace.conditions.everybody_s[1], "reclaimed", job)
        else:
            self.ownerless -= 1
            self._upload(job)

    def _count_phantom(self, change: int) -> None:
        self.ownerless += change

    def _count_lingering(self, change: int) -> None:
        self.lingering += change

    def _resume(self, _: object) -> None:
        while self.waiting and self.group.idle:
            self._begin(self.group.idle.popleft(), self.waiting.popleft())

    def _receive(self, job: int) -> None:
        if self.group.idle and not self._away():
            self._begin(self.group.idle.popleft(), job)
        else:
            self.waiting.append(job)

    def _begin(self, worker: Worker, job: int) -> None:
        worker.job = job
        worker.begun_s = self.events.now_s
        if job == DELETION:
            self.events.after(DELETION_S, "done", worker)
            return
        if self.begun_s[job] < 0:
            self.begun_s[job] = self.events.now_s
        self.uploaded -= 1
        self.encoding += 1
        length_s = self.trace.jobs_s[job]
        if self.failures and (dies_s := self.random.expovariate(1 / DEATH_MEAN_S)) < length_s:
            self.events.after(dies_s, "died", worker)
        else:
            self.events.after(length_s, "done", worker)

    def _finish(self, worker: Worker) -> None:
        if worker.gone:
            return
        if self._away():  # what it has done can't be written yet
            self.events.at(self.trace.conditions.everybody_s[1], "done", worker)
            return
        if worker.job != DELETION:
            self.outcome.work_s += self.trace.jobs_s[worker.job or 0]
            self.encoding -= 1
        worker.job = None
        self._free(worker)

    def _die(self, worker: Worker) -> None:
        if not worker.gone:
            self._abandon(worker)
            worker.ready = False
            self.events.after(RESTART_S, "ready", worker)

    def _lose_instance(self, worker: Worker) -> None:
        """Lose the video of an instance that has ended."""
        silent_s = self._abandon(worker)
        if linger_s := min(self.trace.conditions.linger_s, silent_s):
            self.lingering += 1
            self.events.after(linger_s, "lingered", -1)

    def _abandon(self, worker: Worker) -> float:
        """Leave the video's row in PROCESSING without a worker; return for how long."""
        silent_s = self.random.uniform(*SILENCE_S)
        self.encoding -= 1
        self.ownerless += 1
        self.events.after(silent_s, "reclaimed", worker.job)
        worker.job = None
        return silent_s

    def _boot(self, worker: Worker) -> None:
        if not worker.gone:
            worker.ready = True
            self._free(worker)

    def _free(self, worker: Worker) -> None:
        """Go if chosen; else take the next message; without one stay idle."""
        if worker.draining:
            self.group.end(worker)
        elif self.waiting and not self._away():
            self._begin(worker, self.waiting.popleft())
        else:
            self.group.rest(worker)

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome, trace = self.outcome, self.trace
        for worker in (*self.group.members, *self.group.draining):
            outcome.instance_s += self.events.now_s - max(worker.born_s, 0)
            if worker.encodes():
                outcome.work_s += self.events.now_s - worker.begun_s
        begun_s, arrivals_s = np.array(self.begun_s), np.array(trace.arrivals_s)
        begun_s = np.where(begun_s < 0, trace.length_s, begun_s)
        outcome.waits_s = begun_s - arrivals_s
        bursts = [np.array(trace.burst_of) == burst for burst in range(max(trace.burst_of, default=-1) + 1)]
        outcome.drains_s = np.array([begun_s[one].max() - arrivals_s[one].min() for one in bursts])
