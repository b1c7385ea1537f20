"""The failures that the workflow knows by name.

Step Functions sees the class name of an exception as the error's name, so each class here is one half of a
contract whose other half is a Retry or a Catch in ``state_machines/reclaim_videos.asl.json``. The first line
of a class's docstring is what it means to the operator; the runbook has one entry per class.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any


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
    """A call to SQS failed as a whole: it is away, denies, throttles, or the queue is gone. Retried."""


class EnqueueIncomplete(VideoReclaimError):
    """SQS accepted some videos and refused others. Retried: the next attempt sends only the rest."""


class MetricsUnavailable(VideoReclaimError):
    """CloudWatch did not take the metrics. Retried."""


_NAMED = 20


def naming(reasons: Mapping[int, str]) -> str:
    """Word a failure of several videos: the first twenty by id, grouped by reason."""
    named: dict[str, list[int]] = {}
    for video_id, reason in list(reasons.items())[:_NAMED]:
        named.setdefault(reason, []).append(video_id)
    groups = [f"{', '.join(map(str, video_ids))} ({reason})" for reason, video_ids in named.items()]
    more = f", and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} video{'s' * (len(reasons) != 1)} failed: {', '.join(groups)}{more}"


Handler = Callable[[dict[str, Any], object], dict[str, Any]]


def naming_its_videos(handler: Handler) -> Handler:
    """Let a handler's StoreUnavailable name the videos of its event: the cause is what the operator reads."""

    @functools.wraps(handler)
    def named(event: dict[str, Any], context: object) -> dict[str, Any]:
        try:
            return handler(event, context)
        except StoreUnavailable as exc:
            raise StoreUnavailable(naming(dict.fromkeys(event["videos"], str(exc)))) from exc

    return named
