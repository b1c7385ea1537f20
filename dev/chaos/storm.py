"""Faults of everything around the product: workers, Redis, PostgreSQL, SQS, and users' actions."""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psycopg2

from dev.chaos.environment import FaultyEnvironment, SoakPlan
from dev.chaos.history import REDIS_FORGETS
from dev.chaos.users import Users
from dev.chaos.workers import Fleet
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey

_LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"


@dataclass
class Storm:
    """Random faults, one after the other, until `Record.calm`; ``terminated`` is told of some killed workers."""

    environment: FaultyEnvironment
    plan: SoakPlan
    postgres: Postgres
    valkey: Valkey
    fleet: Fleet
    users: Users
    terminated: Callable[[str], None]

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed + 2)
        self._timeline = self.environment.timeline
        self._fault = self.environment.record.fault

    def run(self) -> None:
        """Inject faults and let users upload; what is still in force at the end is undone in its time."""
        redis_relay, postgres_relay = self.environment.redis_relay, self.environment.postgres_relay
        kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (5, self._kill_workers),
            (6, self._pause_worker),
            (6, self._cut_workers_off),
            (2, self._restart_redis),
            (3, partial(self._break, "Redis is loading", redis_relay, "answer", _LOADING)),
            (1, partial(self._break, "Redis is slow", redis_relay, "mute", True)),
            (2, partial(self._break, "Redis is unreachable", redis_relay, "refusing", True)),
            (1, self._restart_postgres),
            (2, partial(self._break, "PostgreSQL is unreachable", postgres_relay, "refusing", True)),
            (2, self._rows_are_locked),
            (2, partial(self._break, "SQS is away", self.environment.queue, "away", True)),
            (1, self._queue_is_purged),
            (12, self._user_acts),
            (2, self._operator_acts),
        )
        weights, faults = zip(*kinds, strict=True)
        while not self.environment.record.calm:
            self._random.choices(faults, weights)[0]()
            self.fleet.start()
            self.users.upload()
            self._timeline.sleep(self._random.uniform(0, 12))

    def _later(self, least_s: float, most_s: float, undo: Callable[[], object]) -> None:
        self._timeline.start("undo", undo, in_s=self._random.uniform(least_s, most_s))

    def _break(self, fault: str, server: object, name: str, value: object) -> None:
        """Set an attribute of a relay or the queue for a while; connections through a relay are lost."""
        self._fault(fault)
        setattr(server, name, value)
        if server is not self.environment.queue:
            server.cut_all()  # type: ignore[attr-defined]
        self._later(5, 40, partial(setattr, server, name, type(value)()))

    def _kill_workers(self) -> None:
        names = self.fleet.names()
        for name in self._random.sample(names, min(self._random.choices((1, 5), (6, 1))[0], len(names))):
            self._fault("a worker is killed")
            self.fleet.kill(name)
            if self._random.random() < 0.5:
                self._later(1, 120, partial(self.terminated, name))

    def _pause_worker(self) -> None:
        self._fault("a worker is paused")
        self.fleet.pause(self._random.choice(self.fleet.names()), self._random.uniform(10, 240))

    def _cut_workers_off(self) -> None:
        everybody = self._random.random() < 0.1
        self._fault(f"{'all workers are' if everybody else 'a worker is'} cut off from Redis")
        names = self.fleet.names() if everybody else [self._random.choice(self.fleet.names())]
        for name in names:
            self.fleet.cut_off(name, True)
            self._later(120, 120, partial(self.fleet.cut_off, name, False))

    def _restart_redis(self) -> None:
        self.valkey.kill()
        self.valkey.start()
        self._fault(REDIS_FORGETS)

    def _restart_postgres(self) -> None:
        self._fault("PostgreSQL restarts")
        self.users.disconnect()
        self.postgres.restart()

    def _rows_are_locked(self) -> None:
        self._fault("rows are locked")
        with contextlib.suppress(psycopg2.Error):
            self._later(0, 12, self.users.lock_rows())

    def _queue_is_purged(self) -> None:
        self._fault("the queue is purged")
        self.environment.queue.purge()

    def _user_acts(self) -> None:
        self._fault(self.users.meddle(self._random.randint(1, self.plan.videos)))

    def _operator_acts(self) -> None:
        if self.environment.queue.redrive():
            self._fault("an operator redrives the dead-letter queue")
