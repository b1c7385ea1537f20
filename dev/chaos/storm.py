"""Faults of everything around the product: workers, Redis, PostgreSQL, SQS, and users' actions."""

import contextlib
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import psycopg2
import redis

from dev.chaos.environment import FaultyEnvironment
from dev.chaos.fleet import Fleet
from dev.chaos.plan import Plan, Tally
from dev.chaos.platform import Platform
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey

_LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
_EVERY_S = 6


@dataclass
class Storm:
    """Random faults, one after the other, until `Tally.calm`; ``terminated`` is told of some killed workers."""

    plan: Plan
    tally: Tally
    environment: FaultyEnvironment
    postgres: Postgres
    valkey: Valkey
    fleet: Fleet
    platform: Platform
    terminated: Callable[[str], None]

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed + 2)
        self._schedule = self.environment.schedule

    def run(self) -> None:
        """Inject faults and let users upload; what is still in force at the end is undone in its time."""
        kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (20, self._kill_workers),
            (6, self._pause_worker),
            (6, self._cut_workers_off),
            (1, self._flush_redis),
            (1, self._restart_redis),
            (1, self._fail_redis_over),
            (3, self._redis_is_loading),
            (1, self._redis_is_slow),
            (2, self._redis_is_unreachable),
            (2, self._postgres_is_read_only),
            (1, self._restart_postgres),
            (2, self._postgres_is_unreachable),
            (2, self._rows_are_locked),
            (2, self._sqs_is_away),
            (1, self._queue_is_purged),
            (12, self._user_acts),
            (2, self._operator_acts),
        )
        weights, faults = [weight for weight, _ in kinds], [fault for _, fault in kinds]
        while not self.tally.calm:
            self._random.choices(faults, weights)[0]()
            self.fleet.start()
            self.platform.upload()
            self._schedule.sleep(self._random.uniform(0, 2 * _EVERY_S))

    def _later(self, seconds: float, undo: Callable[[], object]) -> None:
        self._schedule.start("undo", undo, in_s=seconds)

    def _kill_workers(self) -> None:
        number = self._random.choices((1, 5), (6, 1))[0]
        for name in self._random.sample(self.fleet.names(), k=min(number, len(self.fleet.names()))):
            self.tally.note("a worker is killed")
            self.fleet.kill(name)
            if self._random.random() < 0.5:
                self._later(self._random.uniform(1, 120), partial(self.terminated, name))

    def _pause_worker(self) -> None:
        self.tally.note("a worker is paused")
        self.fleet.pause(self._random.choice(self.fleet.names()), self._random.uniform(10, 240))

    def _cut_workers_off(self) -> None:
        everybody = self._random.random() < 0.1
        self.tally.note(f"{'all workers are' if everybody else 'a worker is'} cut off from Redis")
        names = self.fleet.names() if everybody else [self._random.choice(self.fleet.names())]
        for name in names:
            self.fleet.cut_off(name, True)
            self._later(120, partial(self.fleet.cut_off, name, False))

    def _flush_redis(self) -> None:
        with closing(redis.Redis.from_url(self.valkey.url)) as client:
            client.flushall()
        self.tally.note("Redis is flushed")

    def _restart_redis(self) -> None:
        self.valkey.kill()
        self.valkey.start()
        self.tally.note("Redis restarts empty")

    def _fail_redis_over(self) -> None:
        """Have a replica take over that had not received what was written last."""
        with closing(redis.Redis.from_url(self.valkey.url)) as client:
            keys = list(client.scan_iter())
            copies = [(key, client.dump(key), client.pexpiretime(key)) for key in keys]
        ahead_ms = round(self._schedule.ahead_s * 1000)
        self._later(self._random.uniform(0.1, 1.0), lambda: self._take_over(copies, ahead_ms))

    def _take_over(self, copies: list[tuple[bytes, bytes | None, int]], ahead_ms: int) -> None:
        passed_ms = round(self._schedule.ahead_s * 1000) - ahead_ms
        with closing(redis.Redis.from_url(self.valkey.url)) as client:
            client.flushall()
            for key, copy, expires_ms in copies:
                expires_ms -= passed_ms if expires_ms > 0 else 0
                if copy is not None:
                    client.restore(key, max(0, expires_ms), copy, absttl=expires_ms > 0)
        self.tally.note("Redis fails over")

    def _redis_is_loading(self) -> None:
        self.tally.note("Redis is loading")
        self._set_for_a_while("answer", _LOADING, b"")

    def _redis_is_slow(self) -> None:
        self.tally.note("Redis is slow")
        self._set_for_a_while("delay_s", self.environment.timing.redis_patience_s * 1.5, 0.0)

    def _redis_is_unreachable(self) -> None:
        self.tally.note("Redis is unreachable")
        self._set_for_a_while("refusing", True, False)
        self.environment.redis_relay.cut_all()

    def _set_for_a_while(self, name: str, value: object, usual: object) -> None:
        relay = self.environment.redis_relay
        setattr(relay, name, value)
        self._later(self._random.uniform(5, 40), lambda: setattr(relay, name, usual))

    def _postgres_is_read_only(self) -> None:
        self.tally.note("PostgreSQL is read-only")
        self.platform.read_only(True)
        self._later(self._random.uniform(5, 30), lambda: self.platform.read_only(False))

    def _restart_postgres(self) -> None:
        self.tally.note("PostgreSQL restarts")
        with self.platform.away():
            self.postgres.restart()

    def _postgres_is_unreachable(self) -> None:
        self.tally.note("PostgreSQL is unreachable")
        relay = self.environment.postgres_relay
        relay.refusing = True
        relay.cut_all()
        self._later(20, lambda: setattr(relay, "refusing", False))

    def _sqs_is_away(self) -> None:
        self.tally.note("SQS is away")
        queue = self.environment.queue
        queue.away = True
        self._later(20, lambda: setattr(queue, "away", False))

    def _rows_are_locked(self) -> None:
        self.tally.note("rows are locked")
        with contextlib.suppress(psycopg2.Error):
            self._later(self._random.uniform(0, 12), self.platform.lock_rows())

    def _queue_is_purged(self) -> None:
        self.tally.note("the queue is purged")
        self.environment.queue.purge()

    def _user_acts(self) -> None:
        self.tally.note(self.platform.meddle(self._random.randint(1, self.plan.videos)))

    def _operator_acts(self) -> None:
        if done := self.platform.redrive_dead_letters():
            self.tally.note(done)
