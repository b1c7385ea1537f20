"""Workers that die at chosen steps, which a signal from outside would rarely hit."""

import contextlib
import json
import random
import time
from contextlib import closing
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dev.chaos.fleet import Addresses, Fleet, open_worker, worker_name
from dev.chaos.plan import Plan, Tally
from dev.chaos.storm import random_settings
from dev.local.worker import Pace, Worker


class ShortLivedWorkers:
    """One worker after the other, each of which ends at a random step, until `Tally.calm` is set."""

    def __init__(self, plan: Plan, tally: Tally, addresses: Addresses, pace: Pace, fleet: Fleet) -> None:
        """Prepare them; their machines are in the group of ``fleet``, some for longer than they live."""
        self._plan, self._tally, self._fleet = plan, tally, fleet
        self._addresses, self._pace = addresses, pace
        self._random = random.Random(plan.seed + 4)

    def run(self) -> None:
        """Let workers live and die."""
        with self._addresses.journal.open("a", buffering=1) as journal:

            def tell(event: dict[str, Any]) -> None:
                journal.write(json.dumps(event, default=str) + "\n")

            for number in range(1 << 60):
                if self._tally.calm.is_set():
                    return
                settings = random_settings(self._random, self._plan.real_platform)
                name = worker_name("short-lived", number, settings)
                worker = open_worker(name, self._addresses, self._pace, settings, number, tell)
                self._fleet.add_instance(name)
                with closing(worker), contextlib.suppress(BotoCoreError, ClientError):
                    self._tally.note(self._live(worker))
                if self._random.random() < 0.5:
                    self._fleet.remove_instance(name)
                time.sleep(self._random.uniform(0, 0.04))

    def _live(self, worker: Worker) -> str:
        """Take a message as far as the step at which this worker dies; return which."""
        job = worker.receive()
        if job is None:
            return "a worker dies idle"
        if self._random.random() < 0.02:
            return "a worker dies between deleting a message and claiming its video"
        since = worker.begin(job)
        if since is None:
            return "a worker dies idle"
        if self._random.random() < 0.5:
            return "a worker dies after its claim"
        worker.beat(job)
        if self._random.random() < 0.8:
            return "a worker dies after its first beat"
        worker.complete(job, since)
        return "a worker dies after completing"
