"""An Auto Scaling group: launching, choosing and ending instances as AWS does.

Sources in AWS's documentation (EC2 Auto Scaling User Guide): "Control which Auto Scaling instances terminate
during scale in" (the default policy ends an instance of the fullest zone, busy or not), "Use instance scale-in
protection", "Amazon EC2 Auto Scaling lifecycle hooks", "Suspend and resume processes" (AZRebalance).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Literal

from dev.simulation.events import Events, Handlers
from dev.simulation.outcome import Outcome
from dev.simulation.traces import HOUR_S
from video_reclaim.scaling.records import Safety

BOOT_S = (150.0, 240.0)
REBALANCE_S = 120.0
"""From zones being uneven to Auto Scaling launching an instance in the smaller one."""
SPOT_MEAN_S = 500 * HOUR_S
"""Mean instance time between Spot interruptions."""

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

DELETION = -1
"""The job of a worker that deletes a file; a video's job is its number in the trace."""


class Worker:
    """An instance with one worker."""

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

    def encodes(self) -> bool:
        """Tell whether it works on a video."""
        return self.job is not None and self.job != DELETION


class WorkerGroup:
    """The group, its instances and its zones.

    Attributes:
        desired: The desired capacity.
        members: What counts towards desired: draining instances do not.
        idle: Ready workers without a job, those that have been idle for longest first.
        draining: Number of chosen instances that finish an encode.
    """

    def __init__(
        self,
        events: Events,
        outcome: Outcome,
        chance: random.Random,
        lose: Callable[[Worker], None],
        *,
        safety: Safety,
        low: int,
        start: int,
        failures: bool,
        idle_timeout_s: float | None,
    ) -> None:
        self.events, self.outcome, self.random, self.lose = events, outcome, chance, lose
        self.safety, self.low, self.desired = safety, low, start
        self.failures, self.idle_timeout_s = failures, idle_timeout_s
        self.rebalances = failures and safety != "protected" and idle_timeout_s is None
        self.members: list[Worker] = []
        self.idle: deque[Worker] = deque()
        self.draining = 0
        self.direction = 0
        self.rebalancing = False
        self.short = False  # the first zone has no instances to give

    def handlers(self) -> Handlers:
        """Give the kinds of event that the group takes care of."""
        return {
            "apply": self.apply,
            "spot": self.interrupt,
            "uneven": self._rebalance,
            "rebalanced": self._end_rebalanced,
            "idle": self._end_idle,
            "shortage": self._set_shortage,
        }

    def start(self) -> None:
        """Launch the desired instances as if they had booted before the trace began."""
        for _ in range(self.desired):
            worker = self._launch()
            worker.ready = True
            self.idle.append(worker)

    def booting(self) -> int:
        """Count the instances that are not ready yet."""
        return sum(not worker.ready for worker in self.members)

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
        self._set_desired(asked)
        while len(self.members) < asked:
            self._launch_booting()
        while len(self.members) > asked:
            victim = self._choose_victim()
            if victim is None:
                break  # all are protected: each goes when it next is idle
            self._choose(victim, "killed")

    def end(self, worker: Worker) -> None:
        """End an instance; the video that it works on is lost."""
        worker.gone = True
        self.outcome.instance_s += self.events.now_s - worker.born_s
        if worker.draining:
            self.draining -= 1
        else:
            self.members.remove(worker)
        if worker.job is None:
            if worker in self.idle:
                self.idle.remove(worker)
        elif worker.encodes():
            self.lose(worker)
        self._check_zones()

    def interrupt(self, worker: Worker) -> None:
        """Take a Spot instance away; the group replaces it."""
        if worker.gone:
            return
        self.outcome.broken += worker.encodes()
        self.end(worker)
        while len(self.members) < self.desired:
            self._launch_booting()

    def _set_desired(self, asked: int) -> None:
        direction = 1 if asked > self.desired else -1
        if self.direction and direction != self.direction:
            self.outcome.turns += 1
        self.direction = direction
        self.desired = asked

    def _launch_booting(self) -> None:
        worker = self._launch()
        self.events.after(self.random.uniform(*BOOT_S), "ready", worker)

    def _launch(self) -> Worker:
        """Launch where the fewest are, among the zones that have instances to give."""
        sizes = self._zone_sizes()
        zone = min(range(1 if self.short else 0, ZONES), key=sizes.__getitem__)
        worker = Worker(self.events.now_s, zone)
        self.members.append(worker)
        if self.failures:
            self.events.after(self.random.expovariate(1 / SPOT_MEAN_S), "spot", worker)
        return worker

    def _zone_sizes(self) -> list[int]:
        sizes = [0] * ZONES
        for worker in self.members:
            sizes[worker.zone] += 1
        return sizes

    def _choose_victim(self) -> Worker | None:
        """Choose as the group does: in the fullest zone that has a candidate, blind to who is busy."""
        candidates = list(self.idle) if self.safety == "protected" else self.members
        if not candidates:
            return None
        sizes = self._zone_sizes()
        fullest = max(sizes[worker.zone] for worker in candidates)
        return self.random.choice([worker for worker in candidates if sizes[worker.zone] == fullest])

    def _choose(self, worker: Worker, counter: Literal["killed", "rebalanced"]) -> None:
        """End an instance that the group has chosen, or let it finish first."""
        if worker.job is not None and self.safety == "hooked":
            self.members.remove(worker)
            self.draining += 1
            worker.draining = True
            return
        if worker.encodes():
            setattr(self.outcome, counter, getattr(self.outcome, counter) + 1)
        self.end(worker)

    def _set_shortage(self, short: bool) -> None:
        self.short = short
        self._check_zones()

    def _check_zones(self) -> None:
        if self.rebalances and not self.rebalancing and self._uneven():
            self.rebalancing = True
            self.events.after(REBALANCE_S, "uneven", None)

    def _uneven(self) -> bool:
        sizes = self._zone_sizes()
        return not self.short and max(sizes) - min(sizes) > 1

    def _rebalance(self, _: object) -> None:
        """Launch in the smallest zone before ending one in the fullest."""
        if self._uneven():
            self._launch_booting()
            self.events.after(BOOT_S[1], "rebalanced", None)
        else:
            self.rebalancing = False

    def _end_rebalanced(self, _: object) -> None:
        self.rebalancing = False
        if len(self.members) > self.desired and (victim := self._choose_victim()) is not None:
            self._choose(victim, "rebalanced")
        self._check_zones()

    def _end_idle(self, spell: tuple[Worker, int]) -> None:
        """Let an instance that was idle for its policy's time end itself and take desired down by one."""
        worker, number = spell
        if worker.gone or worker.job is not None or worker.idle_spells != number:
            return
        if self.desired > self.low:
            self._set_desired(self.desired - 1)
            self.end(worker)
        elif self.idle_timeout_s is not None:
            self.events.after(self.idle_timeout_s, "idle", spell)
