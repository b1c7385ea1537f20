"""An Auto Scaling group: launching, choosing and ending instances as AWS does.

Sources in AWS's documentation (EC2 Auto Scaling User Guide): "Control which Auto Scaling instances terminate
during scale in" (the group is blind to who is busy), "Use instance scale-in protection", "Amazon EC2 Auto Scaling
lifecycle hooks". Zones are left out: rebalancing ends instances whatever the desired capacity is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dev.simulation.events import Events, Handlers
from dev.simulation.traces import Conditions
from video_reclaim.scaling.records import Safety

PENDING_S = 40.0
"""From launch to InService. The worker comes up later: an instance in service is not a worker at work."""
BOOT_S = (150.0, 240.0)
"""From launch to the worker's first receive."""
HOOK_TIMEOUT_S = 600.0
"""An instance without a worker completes no hook: it is paid for until then, and retained for somebody to end."""

MAX_WORKERS = 20
SAFETIES: tuple[Safety, ...] = ("protected", "hooked", "unprotected")
"""What becomes of a busy instance at a scale-in.

protected: instances launch protected and are unprotected only while idle, so a busy one can't be chosen. hooked: a
termination lifecycle hook lets a chosen instance finish its encode; it no longer counts towards desired and is paid for
until it goes. unprotected: it ends.
"""

DELETION = -1
"""The job of a worker that deletes a file; a video's job is its number in the trace."""


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        waits_s: for each video, from upload to its first begin, or to the end.
        drains_s: for each burst: from its first upload until the last of its videos was begun, or to the end.
        instance_s: instance-seconds paid, boots and draining included.
        work_s: encoding done, without what was lost.
        killed: busy workers ended by a scale-in.
        rung: times that the alarm WorkersIdle would have been raised.
        series: per scaling run: desired, and instances.
    """

    waits_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drains_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    instance_s: float = 0.0
    work_s: float = 0.0
    killed: int = 0
    length_s: float = 0.0
    rung: int = 0
    series: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Worker:
    """An instance with one worker; ``job`` is a video's number, or a deletion."""

    born_s: float
    ready: bool = False
    gone: bool = False
    draining: bool = False
    dead: bool = False
    job: int | None = None
    begun_s: float = 0.0
    idle_spells: int = 0

    def encodes(self) -> bool:
        """Tell whether it works on a video."""
        return self.job is not None and self.job != DELETION


class WorkerGroup:
    """The group and its instances.

    Attributes:
        members: what counts towards desired: draining instances do not.
        idle: ready workers without a job, those that have been idle for longest first.
        draining: chosen instances that finish an encode, or that have no worker to let them go.
    """

    def __init__(
        self,
        events: Events,
        outcome: Outcome,
        chance: random.Random,
        lose: Callable[[Worker], None],
        *,
        safety: Safety,
        conditions: Conditions,
        start: int,
        failures: bool,
        idle_timeout_s: float | None,
    ) -> None:
        self.events, self.outcome, self.random, self.lose = events, outcome, chance, lose
        self.safety, self.conditions, self.desired = safety, conditions, start
        self.failures, self.idle_timeout_s = failures, idle_timeout_s
        self.members: list[Worker] = []
        self.idle: deque[Worker] = deque()
        self.draining: list[Worker] = []
        for _ in range(start):  # as if they had booted before the trace began
            worker = self._launch()
            worker.ready = True
            worker.born_s = -PENDING_S
            self.idle.append(worker)

    def handlers(self) -> Handlers:
        """Give the kinds of event that the group takes care of."""
        return {
            "apply": self.apply,
            "spot": self.interrupt,
            "idle": self._end_idle,
            "released": self._release,
        }

    def in_service(self) -> int:
        """Count the instances in service, whether or not their worker is up."""
        return sum(worker.born_s + PENDING_S <= self.events.now_s for worker in self.members)

    def rest(self, worker: Worker) -> None:
        """Keep a worker for which there is no message, or end it if the group has too many."""
        self.idle.append(worker)
        if self.safety == "protected" and len(self.members) > self.desired:
            self.end(worker)  # the idle worker takes its protection off
        elif self.idle_timeout_s is not None:
            worker.idle_spells += 1
            self.events.after(self.idle_timeout_s, "idle", (worker, worker.idle_spells))

    def apply(self, asked: int) -> None:
        """Set the desired capacity, and launch or end instances accordingly."""
        if asked == self.desired:
            return
        self.desired = asked
        while len(self.members) < asked:
            self._launch_booting()
        while len(self.members) > asked:
            candidates = list(self.idle) if self.safety == "protected" else self.members
            if not candidates:
                break  # all are protected: each goes when it next is idle
            self._choose(self.random.choice(candidates))

    def end(self, worker: Worker) -> None:
        """End an instance; the video that it works on is lost."""
        worker.gone = True
        self.outcome.instance_s += self.events.now_s - max(worker.born_s, 0)
        (self.draining if worker.draining else self.members).remove(worker)
        if worker.job is None:
            if worker in self.idle:
                self.idle.remove(worker)
        elif worker.encodes():
            self.lose(worker)

    def interrupt(self, worker: Worker) -> None:
        """Take a Spot instance away; the group replaces it."""
        if worker.gone:
            return
        self.end(worker)
        while len(self.members) < self.desired:
            self._launch_booting()

    def _launch_booting(self) -> None:
        worker = self._launch()
        boot_s = self.random.uniform(*BOOT_S)
        if self.conditions.dead_boots and self.random.random() < self.conditions.dead_boots:
            worker.dead = True
        else:
            self.events.after(boot_s, "ready", worker)

    def _launch(self) -> Worker:
        worker = Worker(self.events.now_s)
        self.members.append(worker)
        if self.failures:
            self.events.after(self.random.expovariate(1 / self.conditions.spot_mean_s), "spot", worker)
        return worker

    def _choose(self, worker: Worker) -> None:
        """End an instance that the group has chosen, or let it finish first."""
        if self.safety == "hooked" and (worker.job is not None or worker.dead):
            self.members.remove(worker)
            self.draining.append(worker)
            worker.draining = True
            if worker.dead:
                self.events.after(HOOK_TIMEOUT_S, "released", worker)
            return
        self.outcome.killed += worker.encodes()
        self.end(worker)

    def _release(self, worker: Worker) -> None:
        if not worker.gone:
            self.end(worker)

    def _end_idle(self, spell: tuple[Worker, int]) -> None:
        """Let an instance that was idle for its policy's time end itself and take desired down by one."""
        worker, number = spell
        if worker.gone or worker.job is not None or worker.idle_spells != number:
            return
        if self.desired > self.conditions.low:
            self.desired -= 1
            self.end(worker)
        elif self.idle_timeout_s is not None:
            self.events.after(self.idle_timeout_s, "idle", spell)
