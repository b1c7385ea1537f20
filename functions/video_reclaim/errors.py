"""The failures of the functions.

Step Functions uses the class name of an exception as the name of the error. The subclasses of
`VideoReclaimError` are therefore a contract: ``state_machines/reclaim_videos.asl.json`` names them in Retry and
Catch. The first line of each docstring tells the operator what happened; the runbook has an entry per class.
"""

from collections.abc import Mapping


class VideoReclaimError(Exception):
    """Base class of the errors that the workflow names."""


class InvalidInput(VideoReclaimError):
    """A field of the execution's input, which is named, is wrong. Never retried: the same input would fail again."""


class InvalidSetting(VideoReclaimError):
    """The named environment variable is missing or malformed. Never retried: only a deployment can correct it."""


class StoreUnavailable(VideoReclaimError):
    """PostgreSQL did not answer, or the connection was lost. Retried."""


class StoreRefused(VideoReclaimError):
    """PostgreSQL refused a statement as a whole, for want of a privilege or a table. Not retried at once."""


class RowRefused(StoreRefused):
    """PostgreSQL refused to write a row: a constraint, a trigger. Counted; the other rows are written."""


class QueueUnavailable(VideoReclaimError):
    """A call to SQS failed as a whole: no answer, or throttled. Retried."""


class QueueRefused(QueueUnavailable):
    """SQS refused the calls that failed: access denied, or no such queue. Nothing of them was sent. Not retried."""


class EnqueueIncomplete(VideoReclaimError):
    """SQS accepted some messages and refused others. Retried: the next attempt sends only the rest."""


class SecretUnavailable(Exception):
    """A secret could not be read. Never leaves the adapters: each treats it as its own system's failure."""


def describe_failures(reasons: Mapping[int, str]) -> str:
    """Describe a failure of several videos: the first twenty ids, grouped by reason."""
    groups: dict[str, list[str]] = {}
    for video_id, reason in list(reasons.items())[:20]:
        groups.setdefault(reason, []).append(str(video_id))
    described = [f"{', '.join(video_ids)} ({reason})" for reason, video_ids in groups.items()]
    more = f", and {len(reasons) - 20} more" if len(reasons) > 20 else ""
    return f"{len(reasons)} video{'s' * (len(reasons) != 1)} failed: {', '.join(described)}{more}"
