"""The failures that the workflow knows by name.

Step Functions sees the class name of an exception as the error's name, so each class here is one half of a
contract whose other half is a Retry or a Catch in ``state_machines/reclaim_videos.asl.json``. The first line
of a class's docstring is what it means to the operator; the runbook has one entry per class.
"""

from collections.abc import Mapping


class VideoReclaimError(Exception):
    """The base of every failure that is part of the contract."""


class InvalidInput(VideoReclaimError):
    """The execution's input is wrong. Never retried: the same input would fail again."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class InvalidSetting(VideoReclaimError):
    """An environment variable is missing or malformed. Never retried: a deployment mends it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name


class StoreUnavailable(VideoReclaimError):
    """PostgreSQL did not answer, or lost the connection. Retried."""


class StoreRefused(VideoReclaimError):
    """PostgreSQL answered no: a privilege, a missing table, a constraint, a trigger. Not retried at once."""


class QueueUnavailable(VideoReclaimError):
    """SQS accepted nothing at all: it is away, denies, throttles, or the queue is gone. Retried."""


class EnqueueIncomplete(VideoReclaimError):
    """SQS accepted some videos and refused others. Retried: the next attempt sends only the rest."""


class MetricsUnavailable(VideoReclaimError):
    """CloudWatch did not take the metrics. Retried."""


_NAMED = 20


def naming(reasons: Mapping[int, str]) -> str:
    """Word a failure of several videos: the first twenty by id, each with its reason."""
    named = ", ".join(f"{video_id} ({reason})" for video_id, reason in list(reasons.items())[:_NAMED])
    more = len(reasons) - _NAMED
    return f"{len(reasons)} videos failed: {named}" + (f", and {more} more" if more > 0 else "")
