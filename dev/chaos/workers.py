"""The fleet: reference workers that live beside the product, and die anywhere."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dev.chaos.environment import FaultyEnvironment, SoakPlan
from dev.chaos.timeline import Party
from dev.local.worker import Manner, Pace, UnreachableError, Worker
from dev.local.worker.contract import FAILURES

_MANNERS: tuple[tuple[Manner, int], ...] = (("fast", 6), ("older", 3), ("contract", 1))
_DEATHS = 0.03
"""Share of the steps after which a worker dies, beside those that are killed by the storm."""


@dataclass
class Fleet:
    """A fixed number of workers; `start` replaces those that have died."""

    environment: FaultyEnvironment
    plan: SoakPlan
    make: Callable[..., Worker]  # returns a worker from its name and settings

    def __post_init__(self) -> None:
        self._timeline, self._record = self.environment.timeline, self.environment.record
        self._random = random.Random(self.plan.seed + 4)
        self._numbers = itertools.count(1)
        self._living: dict[str, tuple[Worker, Party]] = {}

    def start(self) -> None:
        """Start new workers until the fleet has its size."""
        for name, (worker, party) in list(self._living.items()):
            if party.ended:
                worker.close()
                del self._living[name]
                if party.error is not None and not isinstance(party.error, UnreachableError):
                    raise party.error
        while len(self._living) < self.plan.workers:
            name = f"i-{next(self._numbers):017x}"
            manners, weights = zip(*_MANNERS, strict=True)
            encode_s = self._random.choice((20, 60, 300, 900))
            slowness = self._random.choices((1.0, 1.4), (9, 1))[0]
            pace = Pace(
                beat_every_s=20 * slowness,
                encode_s=encode_s * slowness,
                lease_s=self._random.choices((14_400, 600), (4, 1))[0],
            )
            worker = self.make(
                name,
                manner=self._random.choices(manners, weights)[0],
                fenced=self._random.random() < 0.3,
                failing_share=0.02,
                seed=self._random.getrandbits(30),
                pace=pace,
                tell=self._tell,
                now=self._timeline.now,
                sleep=self._timeline.sleep,
            )
            self._living[name] = worker, self._timeline.start(name, partial(self._live, worker))

    def names(self) -> list[str]:
        """Return the names of the workers."""
        return list(self._living)

    def kill(self, name: str) -> None:
        """Kill a worker, whatever it is doing."""
        worker, party = self._living.pop(name)
        self._timeline.kill(party)
        worker.close()

    def pause(self, name: str, seconds: float) -> None:
        """Stop a worker for a while: it neither beats nor writes."""
        self._living[name][1].not_before = self._timeline.now() + seconds

    def cut_off(self, name: str, on: bool) -> None:
        """Cut a worker off from Redis, or connect it again."""
        if name in self._living:
            self._living[name][0].cut_off = on

    def _live(self, worker: Worker) -> None:
        while True:
            try:
                job = worker.receive()
            except FAILURES:
                job = None
            if job is not None:
                worker.work(job)
            self._timeline.sleep(self._random.uniform(1, 20))

    def _tell(self, event: dict[str, Any]) -> None:
        """Note what a worker did; it may die right after, and others may act before its next step."""
        self._record.tell(event)
        name = event["event"]
        if name != "beat" and not self._record.calm and self._random.random() < _DEATHS:
            self._record.fault(f"a worker dies after '{name}'")
            self._timeline.kill(self._living[event["worker"]][1])
        if name != "beat":
            self._timeline.sleep(self._random.choice((0.0, 0.0, 1.0, 3.0)))
