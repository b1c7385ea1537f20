"""An Auto Scaling group: launching, choosing and ending instances as AWS does.

Sources in AWS's documentation (EC2 Auto Scaling User Guide): "Control which Auto Scaling instances terminate
during scale in" (the group is blind to who is busy), "Use instance scale-in protection", "Amazon EC2 Auto Scaling
lifecycle hooks". Zones are left out: rebalancing ends instances whatever the desired capacity is.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dev.simulation.traces import Trace
from video_reclaim.scaling.records import Safety

PENDING_S = 40.0
"""From launch to InService. The worker comes up later: an instance in service is not a worker at work."""
BOOT_S = (150.0, 240.0)
"""From launch to the worker's first receive."""
HOOK_TIMEOUT_S = 600.0
"""An instance without a worker completes no hook: it is paid for until then, and retained for somebody to end."""

MAX_WORKERS = 20
SURVIVE: tuple[Safety, ...] = ("protected", "hooked")
"""The groups in which a busy instance survives a scale-in: it can't be chosen, or a hook lets it finish first."""

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
    """

    length_s: float
    waits_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    drains_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    instance_s: float = 0.0
    work_s: float = 0.0
    killed: int = 0
    rung: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """An instance with one worker; a ``dead`` one's never comes up."""

    born_s: float
    gone: bool = False
    draining: bool = False
    dead: bool = False
    job: int | None = None
    begun_s: float = 0.0
    idle_since_s: float = 0.0

    def encodes(self) -> bool:
        """Tell whether it works on a video."""
        return self.job is not None and self.job != DELETION


class WorkerGroup(ABC):
    """The group and its instances, and what happens at which second.

    Attributes:
        members: what counts towards desired: draining instances do not.
        idle: workers without a job, those that have been idle for longest first.
        draining: chosen instances that finish an encode, or that have no worker to let them go.
        idle_timeout_s: after so long without a job a worker ends its instance and takes desired down by one.
    """

    def __init__(
        self, trace: Trace, safety: Safety, seed: int, start: int | None, idle_timeout_s: float
    ) -> None:
        self.conditions, self.safety, self.idle_timeout_s = trace.conditions, safety, idle_timeout_s
        self.random, self.outcome = random.Random(seed), Outcome(trace.length_s)
        self.now_s, self._order = 0.0, count()
        self._pending: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self.desired = self.conditions.low if start is None else start
        self.members: list[Worker] = []
        self.idle: deque[Worker] = deque()
        self.draining: list[Worker] = []
        for _ in range(self.desired):  # as if they had booted before the trace began
            worker = self._launch()
            worker.born_s = -PENDING_S
            self.idle.append(worker)

    @abstractmethod
    def lose(self, worker: Worker) -> None:
        """Lose the video of an instance that has ended."""

    @abstractmethod
    def free(self, worker: Worker) -> None:
        """Let a worker that has come up look for its next message."""

    def at(self, at_s: float, do: Callable[..., object], *arguments: object) -> None:
        """Call something at a second of the trace; in the same second in the order in which it was added."""
        heappush(self._pending, (at_s, next(self._order), do, arguments))

    def advance(self, until_s: float) -> None:
        """Let everything happen up to a second, that second included."""
        while self._pending and self._pending[0][0] <= until_s:
            self.now_s, _, do, arguments = heappop(self._pending)
            do(*arguments)
        self.now_s = until_s

    def later(self, delay_s: float, do: Callable[[Worker], None], worker: Worker) -> None:
        """Do something with a worker some seconds from now, unless its instance is gone by then."""
        self.at(self.now_s + delay_s, self.unless_gone, do, worker)

    def unless_gone(self, do: Callable[[Worker], None], worker: Worker) -> None:
        """Do something with a worker whose instance is not gone."""
        if not worker.gone:
            do(worker)

    def in_service(self) -> int:
        """Count the instances in service, whether or not their worker is up."""
        return sum(worker.born_s + PENDING_S <= self.now_s for worker in self.members)

    def rest(self, worker: Worker) -> None:
        """Keep a worker for which there is no message, or end it if the group has too many."""
        self.idle.append(worker)
        worker.idle_since_s = self.now_s
        if self.safety == "protected" and len(self.members) > self.desired:
            self.end(worker)  # the idle worker takes its protection off
        else:
            self.later(self.idle_timeout_s, self._end_idle, worker)

    def apply(self, asked: int) -> None:
        """Set the desired capacity, and launch or end instances accordingly."""
        if asked == self.desired:
            return
        self.desired = asked
        self._fill_up()
        while len(self.members) > asked:
            candidates = list(self.idle) if self.safety == "protected" else self.members
            if not candidates:
                break  # all are protected: each goes when it next is idle
            self._choose(self.random.choice(candidates))

    def end(self, worker: Worker) -> None:
        """End an instance; the video that it works on is lost."""
        worker.gone = True
        self.outcome.instance_s += self.now_s - max(worker.born_s, 0)
        (self.draining if worker.draining else self.members).remove(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        if worker.encodes():
            self.lose(worker)

    def _launch(self) -> Worker:
        worker = Worker(self.now_s)
        self.members.append(worker)
        if self.conditions.failures:
            self.later(self.random.expovariate(1 / self.conditions.spot_mean_s), self._interrupt, worker)
        return worker

    def _interrupt(self, worker: Worker) -> None:
        """Take a Spot instance away; the group replaces it."""
        self.end(worker)
        self._fill_up()

    def _fill_up(self) -> None:
        while len(self.members) < self.desired:
            worker = self._launch()
            boot_s = self.random.uniform(*BOOT_S)
            if self.conditions.dead_boots and self.random.random() < self.conditions.dead_boots:
                worker.dead = True
            else:
                self.later(boot_s, self.free, worker)

    def _choose(self, worker: Worker) -> None:
        """End an instance that the group has chosen, or let it finish first."""
        if self.safety == "hooked" and (worker.job is not None or worker.dead):
            self.members.remove(worker)
            self.draining.append(worker)
            worker.draining = True
            if worker.dead:
                self.later(HOOK_TIMEOUT_S, self.end, worker)
            return
        self.outcome.killed += worker.encodes()
        self.end(worker)

    def _end_idle(self, worker: Worker) -> None:
        """Let an instance that has been idle for its time end itself and take desired down by one."""
        if worker.job is not None or self.now_s < worker.idle_since_s + self.idle_timeout_s:
            return
        if self.desired > self.conditions.low:
            self.desired -= 1
            self.end(worker)
        else:
            self.later(self.idle_timeout_s, self._end_idle, worker)
