"""Videos, workers and an Auto Scaling group under one policy, as AWS runs them.

Times are seconds since the trace began. Between the scaling runs everything happens when it happens; a run
sees a view, and some seconds later the group is told. Sources in AWS's documentation (EC2 Auto Scaling User
Guide): "Control which Auto Scaling instances terminate during scale in" (the default policy ends an instance
of the fullest zone, busy or not), "Use instance scale-in protection", "Amazon EC2 Auto Scaling lifecycle
hooks", "Suspend and resume processes" (AZRebalance).
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dev.simulation.policies import PAD_MINUTES, ScalingPolicy, View, point_of
from dev.simulation.traces import HOUR_S, MINUTE_S, Trace
from video_reclaim.scaling.records import Point, Safety

BOOT_S = (150.0, 240.0)
SILENCE_S = (120.0, 240.0)
"""From a worker's death to its video being UPLOADED again: heartbeat gone, then confirmed."""
DELETION_S = 10.0
RESTART_S = 30.0
"""A worker process that died is started again on its instance."""
REBALANCE_S = 120.0
"""From zones being uneven to Auto Scaling launching an instance in the smaller one."""
SPOT_MEAN_S = 500 * HOUR_S
DEATH_MEAN_S = 500 * HOUR_S
"""Mean instance time between Spot interruptions; mean encoding time between deaths of a worker process."""

ZONES = 3
MIN_WORKERS = 1
MAX_WORKERS = 20

SAFETIES: tuple[Safety, ...] = ("protected", "hooked", "unprotected")
"""What becomes of a busy instance at a scale-in.

protected: instances launch protected and are unprotected only while idle, so a busy one can't be chosen.
Protection does not hold against zone rebalancing, which is suspended. hooked: a termination lifecycle hook
lets a chosen instance finish its encode; it no longer counts towards desired and is paid for until it goes.
unprotected: it ends.
"""

_DELETION = -1


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        waits_s: For each video, from upload to its first begin, or to the end.
        drains_s: For each burst of the trace: from its first upload until the last of its videos was begun,
            or to the end.
        instance_s: Instance-seconds paid, boots and draining included.
        work_s: Encoding done, without what was lost.
        lost_s: Encoding thrown away.
        killed: Busy workers ended by a scale-in.
        rebalanced: Busy workers ended by zone rebalancing.
        broken: Encodes cut short by a Spot interruption or a death, which no policy can avoid.
        turns: Times that the desired capacity went the other way than before.
        length_s: How long the run was.
        series: Per scaling run: seconds, backlog, desired, instances; only if asked for.
    """

    waits_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drains_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    instance_s: float = 0.0
    work_s: float = 0.0
    lost_s: float = 0.0
    killed: int = 0
    rebalanced: int = 0
    broken: int = 0
    turns: int = 0
    length_s: float = 0.0
    series: list[tuple[float, int, int, int]] = field(default_factory=list)


class _Worker:
    __slots__ = ("begun_s", "born_s", "draining", "gone", "idle_spells", "job", "ready", "zone")

    def __init__(self, born_s: float, zone: int) -> None:
        self.born_s = born_s
        self.zone = zone
        self.ready = False
        self.gone = False
        self.draining = False
        self.job: int | None = None  # a video's number, or a deletion
        self.begun_s = 0.0
        self.idle_spells = 0


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
        self.trace, self.policy, self.safety = trace, policy, safety
        self.low, self.high = low, high
        self.failures, self.record = failures, record
        self.rebalances = failures and safety != "protected" and policy.idle_timeout_s is None
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.desired = low if start is None else start
        self.waiting: deque[int] = deque()
        self.uploaded = 0
        self.begun_s = [-1.0] * len(trace.arrivals_s)
        self.members: list[_Worker] = []  # what counts towards desired
        self.idle: deque[_Worker] = deque()
        self.draining = 0
        self.encoding = 0
        self.ownerless = 0  # rows in PROCESSING without a worker
        self.direction = 0
        self.rebalancing = False
        self.short = False  # the first zone has no instances to give
        self.outcome = Outcome(length_s=trace.length_s)
        self.order = count()
        self.handlers = {
            "upload": self._upload,
            "deletion": self._receive,
            "done": self._finish,
            "died": self._die,
            "ready": self._boot,
            "apply": self._apply,
            "reclaimed": self._reclaim,
            "phantom": self._count_phantom,
            "spot": self._interrupt,
            "uneven": self._rebalance,
            "rebalanced": self._end_rebalanced,
            "idle": self._end_idle,
            "shortage": self._short,
        }
        self.events = self._scripted()
        for _ in range(self.desired):
            worker = self._launch()
            worker.ready = True
            self.idle.append(worker)

    def _scripted(self) -> list[tuple[float, int, str, object]]:
        trace = self.trace
        events: list[tuple[float, int, str, object]] = []
        events += [(at_s, next(self.order), "upload", job) for job, at_s in enumerate(trace.arrivals_s)]
        events += [(at_s, next(self.order), "deletion", _DELETION) for at_s in trace.deletions_s]
        for from_s, to_s in trace.phantoms_s:
            events.append((from_s, next(self.order), "phantom", 1))
            events.append((to_s, next(self.order), "phantom", -1))
        for from_s, to_s in trace.shortages_s:
            events.append((from_s, next(self.order), "shortage", True))
            events.append((to_s, next(self.order), "shortage", False))
        events.sort()  # a sorted list is a heap
        return events

    def run(self) -> Outcome:
        """Go from the first second to the last."""
        trace, outcome = self.trace, self.outcome
        points: list[Point | None] = [None] * (int(trace.length_s // MINUTE_S) + PAD_MINUTES + 2)
        view = View(points=points, safety=self.safety, low=self.low, high=self.high)
        late: list[tuple[float, int, float]] = []
        visible = 0
        for at_s, database, queue, cloudwatch, readable_s, queue_lags, apply_after_s in trace.runs:
            if self.events and self.events[0][0] <= at_s:
                self._advance(at_s)
            self.now_s = at_s
            backlog = self.uploaded + self.encoding + self.ownerless
            minute = int(at_s // MINUTE_S) + PAD_MINUTES
            if late:
                late = self._arrive(late, points)
            view.at_s, view.minute, view.desired, view.draining = at_s, minute, self.desired, self.draining
            view.in_service = len(self.members) - self._booting()
            view.uploaded = self.uploaded if database else None
            view.processing = self.encoding + self.ownerless if database else None
            if not queue_lags:
                visible = len(self.waiting)
            view.visible = visible if queue else None
            visible = len(self.waiting)
            view.in_flight = (self.encoding if self.policy.holds_messages else 0) if queue else None
            view.readable = cloudwatch
            asked = self.policy.ask(view)
            if asked != self.desired:
                heappush(self.events, (at_s + apply_after_s, next(self.order), "apply", asked))
            if readable_s < trace.length_s:
                late.append((readable_s, minute, float(backlog)))
            if self.record:
                outcome.series.append((at_s, backlog, self.desired, len(self.members) + self.draining))
        self._advance(trace.length_s)
        self._close()
        return outcome

    def _arrive(
        self, late: list[tuple[float, int, float]], points: list[Point | None]
    ) -> list[tuple[float, int, float]]:
        """Put what can be read by now among the points; give the rest."""
        for readable_s, minute, value in late:
            if readable_s <= self.now_s:
                present = points[minute]
                if present is None or present.value < value:
                    points[minute] = point_of(minute, value)
        return [point for point in late if point[0] > self.now_s]

    def _booting(self) -> int:
        return sum(not worker.ready for worker in self.members)

    def _after(self, delay_s: float, kind: str, what: object) -> None:
        heappush(self.events, (self.now_s + delay_s, next(self.order), kind, what))

    def _advance(self, until_s: float) -> None:
        events, handlers = self.events, self.handlers
        while events and events[0][0] <= until_s:
            self.now_s, _, kind, what = heappop(events)
            handlers[kind](what)  # type: ignore[operator]
        self.now_s = until_s

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
        if self.idle:
            self._begin(self.idle.popleft(), job)
        else:
            self.waiting.append(job)

    def _begin(self, worker: _Worker, job: int) -> None:
        worker.job = job
        worker.begun_s = self.now_s
        if job == _DELETION:
            self._after(DELETION_S, "done", worker)
            return
        if self.begun_s[job] < 0:
            self.begun_s[job] = self.now_s
        self.uploaded -= 1
        self.encoding += 1
        length_s = self.trace.jobs_s[job]
        if self.failures and (dies_s := self.random.expovariate(1 / DEATH_MEAN_S)) < length_s:
            self._after(dies_s, "died", worker)
        else:
            self._after(length_s, "done", worker)

    def _finish(self, worker: _Worker) -> None:
        if worker.gone:
            return
        if worker.job != _DELETION:
            self.outcome.work_s += self.now_s - worker.begun_s
            self.encoding -= 1
        worker.job = None
        self._free(worker)

    def _die(self, worker: _Worker) -> None:
        if worker.gone:
            return
        self._abandon(worker)
        self.outcome.broken += 1
        worker.ready = False
        self._after(RESTART_S, "ready", worker)

    def _abandon(self, worker: _Worker) -> None:
        """Leave the video's row in PROCESSING without a worker."""
        assert worker.job is not None
        self.encoding -= 1
        self.ownerless += 1
        self.outcome.lost_s += self.now_s - worker.begun_s
        self._after(self.random.uniform(*SILENCE_S), "reclaimed", worker.job)
        worker.job = None

    def _boot(self, worker: _Worker) -> None:
        if not worker.gone:
            worker.ready = True
            self._free(worker)

    def _free(self, worker: _Worker) -> None:
        """Go if chosen; else take the next message; without one stay idle."""
        if worker.draining:
            self._end(worker)
        elif self.waiting:
            self._begin(worker, self.waiting.popleft())
        else:
            self.idle.append(worker)
            if self.safety == "protected" and len(self.members) > self.desired:
                self._end(worker)  # the idle worker takes its protection off
            elif self.policy.idle_timeout_s is not None:
                worker.idle_spells += 1
                self._after(self.policy.idle_timeout_s, "idle", (worker, worker.idle_spells))

    # The group

    def _apply(self, asked: int) -> None:
        if asked == self.desired:
            return
        self._set_desired(asked)
        while len(self.members) < asked:
            self._launch_booting()
        while len(self.members) > asked:
            victim = self._choose_victim()
            if victim is None:
                break  # all are protected: each goes when it next is idle
            self._choose(victim, "killed")

    def _set_desired(self, asked: int) -> None:
        direction = 1 if asked > self.desired else -1
        if self.direction and direction != self.direction:
            self.outcome.turns += 1
        self.direction = direction
        self.desired = asked

    def _launch_booting(self) -> _Worker:
        worker = self._launch()
        self._after(self.random.uniform(*BOOT_S), "ready", worker)
        return worker

    def _launch(self) -> _Worker:
        """Launch where the fewest are, among the zones that have instances to give."""
        sizes = self._zone_sizes()
        zone = min(range(1 if self.short else 0, ZONES), key=sizes.__getitem__)
        worker = _Worker(self.now_s, zone)
        self.members.append(worker)
        if self.failures:
            self._after(self.random.expovariate(1 / SPOT_MEAN_S), "spot", worker)
        return worker

    def _zone_sizes(self) -> list[int]:
        sizes = [0] * ZONES
        for worker in self.members:
            sizes[worker.zone] += 1
        return sizes

    def _choose_victim(self) -> _Worker | None:
        """Choose as the group does: in the fullest zone that has a candidate, blind to who is busy."""
        candidates = list(self.idle) if self.safety == "protected" else self.members
        if not candidates:
            return None
        sizes = self._zone_sizes()
        fullest = max(sizes[worker.zone] for worker in candidates)
        return self.random.choice([worker for worker in candidates if sizes[worker.zone] == fullest])

    def _choose(self, worker: _Worker, counter: Literal["killed", "rebalanced"]) -> None:
        """End an instance that the group has chosen, or let it finish first."""
        if worker.job is not None and self.safety == "hooked":
            self.members.remove(worker)
            self.draining += 1
            worker.draining = True
            return
        if worker.job is not None and worker.job != _DELETION:
            setattr(self.outcome, counter, getattr(self.outcome, counter) + 1)
        self._end(worker)

    def _end(self, worker: _Worker) -> None:
        worker.gone = True
        self.outcome.instance_s += self.now_s - worker.born_s
        if worker.draining:
            self.draining -= 1
        else:
            self.members.remove(worker)
        if worker.job is None:
            if worker in self.idle:
                self.idle.remove(worker)
        elif worker.job != _DELETION:
            self._abandon(worker)
        self._look_at_zones()

    def _short(self, short: bool) -> None:
        self.short = short
        self._look_at_zones()

    def _look_at_zones(self) -> None:
        if self.rebalances and not self.rebalancing and self._uneven():
            self.rebalancing = True
            self._after(REBALANCE_S, "uneven", None)

    def _uneven(self) -> bool:
        sizes = self._zone_sizes()
        return not self.short and max(sizes) - min(sizes) > 1

    def _interrupt(self, worker: _Worker) -> None:
        """Take a Spot instance away; the group replaces it."""
        if worker.gone:
            return
        self.outcome.broken += worker.job is not None and worker.job != _DELETION
        self._end(worker)
        while len(self.members) < self.desired:
            self._launch_booting()

    def _rebalance(self, _: object) -> None:
        """Launch in the smallest zone before ending one in the fullest."""
        if self._uneven():
            self._launch_booting()
            self._after(BOOT_S[1], "rebalanced", None)
        else:
            self.rebalancing = False

    def _end_rebalanced(self, _: object) -> None:
        self.rebalancing = False
        if len(self.members) > self.desired and (victim := self._choose_victim()) is not None:
            self._choose(victim, "rebalanced")
        self._look_at_zones()

    def _end_idle(self, spell: tuple[_Worker, int]) -> None:
        """Let an instance that was idle for its policy's time end itself and take desired down by one."""
        worker, number = spell
        if worker.gone or worker.job is not None or worker.idle_spells != number:
            return
        if self.desired > self.low:
            self._set_desired(self.desired - 1)
            self._end(worker)
        elif self.policy.idle_timeout_s is not None:
            self._after(self.policy.idle_timeout_s, "idle", spell)

    def _close(self) -> None:
        """Count what is still open at the end."""
        outcome, trace = self.outcome, self.trace
        paid = {id(worker): worker for worker in self.members}
        for _, _, kind, what in self.events:
            if kind in ("done", "died", "ready") and isinstance(what, _Worker) and not what.gone:
                paid[id(what)] = what  # the draining ones too
        for worker in paid.values():
            outcome.instance_s += self.now_s - worker.born_s
            if worker.job is not None and worker.job != _DELETION:
                outcome.work_s += self.now_s - worker.begun_s
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
