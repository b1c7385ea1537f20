"""A stand-in for the platform's transcode workers, for the demo and the tests.

It encodes nothing: as an object (`Worker`) and as a command (``python -m dev.local.worker``).
"""

from dev.local.worker.contract import UnreachableError, Worker
from dev.local.worker.draining import DrainingWorker, Instance
from dev.local.worker.pace import Job, Manner, Pace

__all__ = [
    "DrainingWorker",
    "Instance",
    "Job",
    "Manner",
    "Pace",
    "UnreachableError",
    "Worker",
]
