"""Workers to kill: the reference worker in processes of their own, forked from one that is warm."""

import json
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dev.local.worker import ClaimPath, Pace, Worker

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dev.chaos.fleet", "boto3"])


@dataclass(frozen=True, slots=True)
class Manner:
    """How one worker works.

    Attributes:
        path: see `Worker`.
        fenced: see `Worker`.
        slowness: see `Pace`.
        lease_s: its leases, in the contract's seconds.
        failing_share: see `Worker`.
    """

    path: ClaimPath = "leased"
    fenced: bool = False
    slowness: float = 1.0
    lease_s: float = 14_400
    failing_share: float = 0.02


@dataclass(frozen=True, slots=True)
class Places:
    """Where workers find everything.

    Attributes:
        dsn: database.
        redis_url: Redis.
        endpoint_url: SQS.
        queue_url: the queue.
        journal: the file that they tell everything to.
    """

    dsn: str
    redis_url: str
    endpoint_url: str
    queue_url: str
    journal: Path


class Fleet:
    """A number of workers, each of which is replaced by another once it has been killed.

    Attributes:
        killed: the names of those that were.
    """

    def __init__(self, places: Places, pace: Pace, *, size: int) -> None:
        """Prepare ``size`` workers; none runs before `start`."""
        self.killed: set[str] = set()
        self._places, self._pace = places, pace
        self._size = size
        self._numbers = iter(range(1, 1 << 60))
        self._running: dict[str, BaseProcess] = {}
        self._lock = threading.Lock()

    def start(self, manner: Manner | None = None) -> None:
        """Bring the fleet to its size, with new workers of one manner."""
        with self._lock:
            for name in [name for name, process in self._running.items() if not process.is_alive()]:
                del self._running[name]
            while len(self._running) < self._size:
                name = f"worker-{next(self._numbers)}"
                process = _CONTEXT.Process(
                    target=_work, args=(name, self._places, self._pace, manner or Manner()), name=name
                )
                process.start()
                self._running[name] = process

    def names(self) -> list[str]:
        """The workers that run, or are paused."""
        with self._lock:
            return list(self._running)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send one of them a signal: pause, resume, cut off, reconnect."""
        with self._lock:
            process = self._running.get(name)
            if process is not None and process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    def kill(self, name: str) -> None:
        """End one of them at once, whatever it does."""
        with self._lock:
            process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.join()
            self.killed.add(name)

    def stop(self) -> None:
        """End them all."""
        for name in self.names():
            self.kill(name)


def _work(name: str, places: Places, pace: Pace, manner: Manner) -> None:
    from dev.local.stack import Clients

    journal = os.open(places.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(event: dict[str, Any]) -> None:
        os.write(journal, (json.dumps(event, default=str) + "\n").encode())

    worker = Worker(
        name,
        sqs=Clients(places.endpoint_url).sqs,
        queue_url=places.queue_url,
        dsn=places.dsn,
        redis_url=places.redis_url,
        pace=replace(pace, slowness=manner.slowness, lease_s=manner.lease_s),
        path=manner.path,
        fenced=manner.fenced,
        failing_share=manner.failing_share,
        seed=int(name.rpartition("-")[2]),
        tell=tell,
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who gave us birth
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    worker.run()


def _end_with(parent: int) -> None:
    """Leave once the process that forks workers is gone, and with it whoever would have ended this one."""
    while os.getppid() == parent:
        threading.Event().wait(0.5)
    os._exit(0)
