"""Videos, workers and an Auto Scaling group under one policy.

Times are seconds since the trace began. Between the scaling runs everything happens when it happens; a run
sees a view, and some seconds later the group is told.
"""

from __future__ import annotations

import random
from collections import deque

import numpy as np

from dev.simulation.events import Events
from dev.simulation.group import DELETION, MAX_WORKERS, MIN_WORKERS, SAFETIES, Worker, WorkerGroup
from dev.simulation.outcome import Outcome
from dev.simulation.policies import PAD_MINUTES, ScalingPolicy, View, point_of
from dev.simulation.traces import HOUR_S, MINUTE_S, Trace
from video_reclaim.scaling.records import Point, Safety

__all__ = ["MAX_WORKERS", "SAFETIES", "FleetSimulation"]  # the group's too, for the figures

SILENCE_S = (120.0, 240.0)
"""From a worker's death to its video being UPLOADED again: heartbeat gone, then confirmed."""
DELETION_S = 10.0
RESTART_S = 30.0
"""A worker process that died is started again on its instance."""
DEATH_MEAN_S = 500 * HOUR_S
"""Mean encoding time between deaths of a worker process."""


class FleetSimulation:
    """One run of one trace under one policy, in a group of one safety."""

    def __init__(
        self,
        trace: Trace,
        policy: ScalingPolicy,
        safety: Safety,
        seed: int,
        *,
        low: int = MIN_WORKERS,
        high: int = MAX_WORKERS,
        start: int | None = None,
        failures: bool = True,
        record: bool = False,
    ) -> None:
        self.trace, self.policy = trace, policy
        self.low, self.high = low, high
        self.failures, self.record = failures, record
        self.random = random.Random(seed)
        self.waiting: deque[int] = deque()
        self.uploaded = 0
        self.begun_s = [-1.0] * len(trace.arrivals_s)
        self.encoding = 0
        self.ownerless = 0  # rows in PROCESSING without a worker
        self.outcome = Outcome(length_s=trace.length_s)
        self.events = Events()
        self.group = WorkerGroup(
            self.events,
            self.outcome,
            self.random,
            self._abandon,
            safety=safety,
            low=low,
            start=low if start is None else start,
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
            **self.group.handlers(),
        }
        self._script()
        self.group.start()

    @property
    def now_s(self) -> float:
        """Seconds since the trace began."""
        return self.events.now_s

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
        for from_s, to_s in trace.shortages_s:
            at(from_s, "shortage", True)
            at(to_s, "shortage", False)

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        trace, outcome, group, events = self.trace, self.outcome, self.group, self.events
        points: list[Point | None] = [None] * (int(trace.length_s // MINUTE_S) + PAD_MINUTES + 2)
        view = View(points=points, safety=group.safety, low=self.low, high=self.high)
        late: list[tuple[float, int, float]] = []
        visible = 0
        for at_s, database, queue, cloudwatch, readable_s, queue_lags, apply_after_s in trace.runs:
            events.advance(at_s)
            backlog = self.uploaded + self.encoding + self.ownerless
            minute = int(at_s // MINUTE_S) + PAD_MINUTES
            if late:
                late = self._arrive(late, points)
            view.at_s, view.minute, view.desired, view.draining = at_s, minute, group.desired, group.draining
            view.in_service = len(group.members) - group.booting()
            view.uploaded = self.uploaded if database else None
            view.processing = self.encoding + self.ownerless if database else None
            if not queue_lags:
                visible = len(self.waiting)
            view.visible = visible if queue else None
            visible = len(self.waiting)
            view.in_flight = (self.encoding if self.policy.holds_messages else 0) if queue else None
            view.readable = cloudwatch
            asked = self.policy.ask(view)
            if asked != group.desired:
                events.at(at_s + apply_after_s, "apply", asked)
            if readable_s < trace.length_s:
                late.append((readable_s, minute, float(backlog)))
            if self.record:
                instances = len(group.members) + group.draining
                outcome.series.append((at_s, backlog, group.desired, instances))
        events.advance(trace.length_s)
        self._close()
        return outcome

    def _arrive(
        self, late: list[tuple[float, int, float]], points: list[Point | None]
    ) -> list[tuple[float, int, float]]:
        """Put what can be read by now among the points; give the rest."""
        for readable_s, minute, value in late:
            if readable_s <= self.events.now_s:
                present = points[minute]
                if present is None or present.value < value:
                    points[minute] = point_of(minute, value)
        return [point for point in late if point[0] > self.events.now_s]

    # Videos and workers

    def _upload(self, job: int) -> None:
        self.uploaded += 1
        self._receive(job)

    def _reclaim(self, job: int) -> None:
        self.ownerless -= 1
        self._upload(job)

    def _count_phantom(self, change: int) -> None:
        self.ownerless += change

    def _receive(self, job: int) -> None:
        if self.group.idle:
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
        if worker.job != DELETION:
            self.outcome.work_s += self.events.now_s - worker.begun_s
            self.encoding -= 1
        worker.job = None
        self._free(worker)

    def _die(self, worker: Worker) -> None:
        if worker.gone:
            return
        self._abandon(worker)
        self.outcome.broken += 1
        worker.ready = False
        self.events.after(RESTART_S, "ready", worker)

    def _abandon(self, worker: Worker) -> None:
        """Leave the video's row in PROCESSING without a worker."""
        assert worker.job is not None
        self.encoding -= 1
        self.ownerless += 1
        self.outcome.lost_s += self.events.now_s - worker.begun_s
        self.events.after(self.random.uniform(*SILENCE_S), "reclaimed", worker.job)
        worker.job = None

    def _boot(self, worker: Worker) -> None:
        if not worker.gone:
            worker.ready = True
            self._free(worker)

    def _free(self, worker: Worker) -> None:
        """Go if chosen; else take the next message; without one stay idle."""
        if worker.draining:
            self.group.end(worker)
        elif self.waiting:
            self._begin(worker, self.waiting.popleft())
        else:
            self.group.rest(worker)

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome, trace = self.outcome, self.trace
        paid = {id(worker): worker for worker in self.group.members}
        for kind, what in self.events.pending():
            if kind in ("done", "died", "ready") and isinstance(what, Worker) and not what.gone:
                paid[id(what)] = what  # the draining ones too
        for worker in paid.values():
            outcome.instance_s += self.events.now_s - worker.born_s
            if worker.encodes():
                outcome.work_s += self.events.now_s - worker.begun_s
        begun_s = np.array(self.begun_s)
        begun_s = np.where(begun_s < 0, trace.length_s, begun_s)
        outcome.waits_s = begun_s - np.array(trace.arrivals_s)
        burst_of, arrivals_s = np.array(trace.burst_of), np.array(trace.arrivals_s)
        outcome.drains_s = np.array(
            [
                begun_s[burst_of == burst].max() - arrivals_s[burst_of == burst].min()
                for burst in range(max(trace.burst_of, default=-1) + 1)
            ]
        )
