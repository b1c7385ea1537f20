"""A stand-in for the platform's transcode workers, for the demo and the tests.

It keeps the contract of `docs/worker-contract.md` and encodes nothing: as an object (`Worker`), as a process
(`WorkerProcess`) and as a command (``python -m dev.local.worker``).
"""

from dev.local.worker.contract import Worker
from dev.local.worker.draining import DrainingWorker, Instance
from dev.local.worker.process import WorkerProcess
from dev.local.worker.records import ClaimPath, Habits, Job, Pace
from dev.local.worker.rows import UnreachableError

__all__ = [
    "ClaimPath",
    "DrainingWorker",
    "Habits",
    "Instance",
    "Job",
    "Pace",
    "UnreachableError",
    "Worker",
    "WorkerProcess",
]
