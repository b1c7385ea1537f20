"""Faults of everything around the product: workers, Redis, PostgreSQL, SQS, and users' actions."""

import contextlib
import random
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import get_args

import psycopg2
import redis

from dev.chaos.environment import FaultyEnvironment
from dev.chaos.fleet import Fleet, WorkerSettings
from dev.chaos.plan import Plan, RealPlatform, Tally
from dev.chaos.platform import Platform
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey
from dev.local.worker import ClaimPath, Habits

_PATHS: tuple[ClaimPath, ...] = get_args(ClaimPath)
_LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"


def random_settings(rng: random.Random, real: RealPlatform) -> WorkerSettings:
    """Return the settings of the next worker."""
    weights = (1, 0, 1) if real.job_locks else (6, 2, 1)
    path = rng.choices(_PATHS, weights)[0]
    return WorkerSettings(
        path=path,
        habits=Habits(
            requeues_refused=real.requeues and path == "leased",
            beats_early=real.early_beats,
            honours_cancel=real.retries,
            job_lock=real.job_locks and path == "careless",
            request_ids=real.instance_ids,
        ),
        fenced=rng.random() < 0.3,
        slowness=rng.choices((1.0, 2.0, 4.0), (8, 1, 1))[0],
        lease_s=rng.choices((14_400, 300), (4, 1))[0],
    )


@dataclass
class Storm:
    """Random faults, one after the other, until `Tally.calm` is set."""

    plan: Plan
    tally: Tally
    environment: FaultyEnvironment
    postgres: Postgres
    valkey: Valkey
    fleet: Fleet
    platform: Platform
    _later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed + 2)

    def run(self) -> None:
        """Inject faults and let users upload; undo what is still in force at the end."""
        kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (50, self._kill_worker),
            (8, self._kill_several_workers),
            (4, self._pause_worker),
            (6, self._cut_worker_off),
            (1, self._cut_all_workers_off),
            (3, self._flush_redis),
            (3, self._restart_redis),
            (3, self._redis_is_loading),
            (2, self._redis_is_slow),
            (2, self._redis_is_unreachable),
            (2, self._postgres_is_read_only),
            (1, self._restart_postgres),
            (2, self._postgres_is_unreachable),
            (2, self._rows_are_locked),
            (2, self._sqs_is_away),
            (1, self._queue_is_purged),
            (12, self._user_acts),
        )
        weights, faults = [weight for weight, _ in kinds], [fault for _, fault in kinds]
        while not self.tally.calm.is_set():
            now = time.monotonic()
            for due in [due for due in self._later if due[0] <= now]:
                self._later.remove(due)
                due[1]()
            self._random.choices(faults, weights)[0]()
            self.platform.upload()
            time.sleep(self._random.uniform(0, self.plan.minute_s / 10))
        for _, undo in self._later:
            undo()

    def _undo_after(self, minutes: float, undo: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + minutes * self.plan.minute_s, undo))

    def _kill_worker(self) -> None:
        self.tally.note("a worker is killed")
        self._kill(self._random.choice(self.fleet.names()))
        self.fleet.start(random_settings(self._random, self.plan.real_platform))

    def _kill(self, name: str) -> None:
        self.fleet.kill(name, machine=self._random.random() < 0.5)

    def _kill_several_workers(self) -> None:
        self.tally.note("several workers are killed at once")
        names = self.fleet.names()
        for name in self._random.sample(names, k=min(5, len(names))):
            self._kill(name)
        self.fleet.start(random_settings(self._random, self.plan.real_platform))

    def _pause_worker(self) -> None:
        self.tally.note("a worker is paused")
        name = self._random.choice(self.fleet.names())
        self.fleet.signal(name, signal.SIGSTOP)
        self._undo_after(self._random.uniform(0.2, 4), lambda: self.fleet.signal(name, signal.SIGCONT))

    def _cut_worker_off(self) -> None:
        self.tally.note("a worker is cut off from Redis")
        name = self._random.choice(self.fleet.names())
        self.fleet.signal(name, signal.SIGUSR1)
        self._undo_after(2, lambda: self.fleet.signal(name, signal.SIGUSR2))

    def _cut_all_workers_off(self) -> None:
        self.tally.note("all workers are cut off from Redis")
        names = self.fleet.names()

        def signal_all(number: signal.Signals) -> None:
            for name in names:
                self.fleet.signal(name, number)

        signal_all(signal.SIGUSR1)
        self._undo_after(2, lambda: signal_all(signal.SIGUSR2))

    def _flush_redis(self) -> None:
        self.tally.note("Redis is flushed")
        with closing(redis.Redis.from_url(self.valkey.url)) as client:
            client.flushall()

    def _restart_redis(self) -> None:
        self.tally.note("Redis restarts empty")
        self.valkey.kill()
        self.valkey.start()

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
        self._undo_after(self._random.uniform(0.1, 0.6), lambda: setattr(relay, name, usual))

    def _postgres_is_read_only(self) -> None:
        self.tally.note("PostgreSQL is read-only")
        self.platform.read_only(True)
        self._undo_after(self._random.uniform(0.1, 0.5), lambda: self.platform.read_only(False))

    def _restart_postgres(self) -> None:
        self.tally.note("PostgreSQL restarts")
        with self.platform.away():
            self.postgres.restart()

    def _postgres_is_unreachable(self) -> None:
        self.tally.note("PostgreSQL is unreachable")
        relay = self.environment.postgres_relay
        relay.refusing = True
        relay.cut_all()
        self._undo_after(0.3, lambda: setattr(relay, "refusing", False))

    def _sqs_is_away(self) -> None:
        self.tally.note("SQS is away")
        queue = self.environment.queue
        queue.away = True
        self._undo_after(0.3, lambda: setattr(queue, "away", False))

    def _rows_are_locked(self) -> None:
        self.tally.note("rows are locked")
        with contextlib.suppress(psycopg2.Error):
            self._undo_after(self._random.uniform(0, 0.1), self.platform.lock_rows())

    def _queue_is_purged(self) -> None:
        self.tally.note("the queue is purged")
        self.environment.queue.purge()

    def _user_acts(self) -> None:
        self.tally.note(self.platform.meddle(self._random.randint(1, self.plan.videos)))
