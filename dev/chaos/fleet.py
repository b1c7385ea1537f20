"""The fleet: reference workers in processes of their own, forked from a process that has imported all."""

import json
import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dev.local.worker import ClaimPath, Habits, Pace, Worker

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dev.chaos.fleet", "boto3"])


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of one worker.

    Attributes:
        path: see `Worker`.
        habits: see `Worker`.
        fenced: see `Worker`.
        slowness: see `Pace`.
        lease_s: see `Pace`.
        failing_share: see `Worker`.
    """

    path: ClaimPath = "leased"
    habits: Habits = field(default_factory=Habits)
    fenced: bool = False
    slowness: float = 1.0
    lease_s: float = 14_400
    failing_share: float = 0.02


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of everything a worker uses.

    Attributes:
        dsn: database.
        redis_url: Redis.
        endpoint_url: SQS.
        queue_url: the queue.
        journal: the file to which workers append what they do.
    """

    dsn: str
    redis_url: str
    endpoint_url: str
    queue_url: str
    journal: Path


class Fleet:
    """A fixed number of workers; `start` replaces those that were killed."""

    def __init__(
        self, addresses: Addresses, pace: Pace, *, size: int, usual: Callable[[], WorkerSettings]
    ) -> None:
        """Prepare ``size`` workers; none runs before `start`, which asks ``usual`` for their settings."""
        self._instances: set[str] = set()
        self._addresses, self._pace = addresses, pace
        self._size, self._usual = size, usual
        self._numbers = iter(range(1, 1 << 60))
        self._running: dict[str, BaseProcess] = {}
        self._lock = threading.Lock()

    def start(self, settings: WorkerSettings | None = None) -> None:
        """Start new workers, with these or the usual settings, until the fleet has its size."""
        with self._lock:
            for name in [name for name, process in self._running.items() if not process.is_alive()]:
                del self._running[name]
            while len(self._running) < self._size:
                number, chosen = next(self._numbers), settings or self._usual()
                name = worker_name("worker", number, chosen)
                process = _CONTEXT.Process(
                    target=_work, args=(name, self._addresses, self._pace, chosen, number), name=name
                )
                self._instances.add(name)
                process.start()
                self._running[name] = process

    def names(self) -> list[str]:
        """Return the names of the workers that run or are paused."""
        with self._lock:
            return list(self._running)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a worker a signal; see `dev.local.worker` for what each does."""
        with self._lock:
            process = self._running.get(name)
            if process is not None and process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    def instances(self) -> set[str]:
        """Return the names of the machines that run, as the worker group tells them."""
        with self._lock:
            return set(self._instances)

    def add_instance(self, name: str) -> None:
        """Count a machine in that runs a worker from elsewhere."""
        with self._lock:
            self._instances.add(name)

    def remove_instance(self, name: str) -> None:
        """End a machine whose worker no longer runs."""
        with self._lock:
            self._instances.discard(name)

    def kill(self, name: str, *, machine: bool = True) -> None:
        """Kill a worker, whatever it is doing, and end its machine too, or leave that in the group."""
        with self._lock:
            process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.join()
            if machine:
                self.remove_instance(name)

    def stop(self) -> None:
        """Kill all workers."""
        for name in self.names():
            self.kill(name)


def worker_name(kind: str, number: int, settings: WorkerSettings) -> str:
    """Return a worker's name: an EC2 instance's id if its name goes before a request id."""
    if settings.habits.request_ids:
        return f"i-{zlib.crc32(kind.encode()):08x}{number:09x}"
    return f"{kind}-{number}"


def open_worker(
    name: str,
    addresses: Addresses,
    pace: Pace,
    settings: WorkerSettings,
    seed: int,
    tell: Callable[[dict[str, Any]], None],
) -> Worker:
    """Return a worker that reports each of its steps to ``tell``."""
    return Worker(
        name,
        sqs=_sqs(addresses.endpoint_url),
        queue_url=addresses.queue_url,
        dsn=addresses.dsn,
        redis_url=addresses.redis_url,
        pace=replace(pace, slowness=settings.slowness, lease_s=settings.lease_s),
        path=settings.path,
        habits=settings.habits,
        fenced=settings.fenced,
        failing_share=settings.failing_share,
        seed=seed,
        tell=tell,
    )


@cache
def _sqs(endpoint_url: str) -> "SQSClient":
    """Return the client that all workers of one process share: making one takes as long as a fault."""
    from dev.local.stack import Clients

    return Clients(endpoint_url).sqs


def _work(name: str, addresses: Addresses, pace: Pace, settings: WorkerSettings, seed: int) -> None:
    journal = os.open(addresses.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(event: dict[str, Any]) -> None:
        os.write(journal, (json.dumps(event, default=str) + "\n").encode())

    worker = open_worker(name, addresses, pace, settings, seed, tell)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which then ends its workers
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker.run()


def _end_with_parent() -> None:
    """Exit once the process is gone that asked for this one: nobody else would end it.

    The server that forks workers lives for as long as one of them.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
