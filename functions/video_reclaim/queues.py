"""SQS: sending jobs, and how deep the queues are."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.postgres import Job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_ENTRIES_PER_CALL = 10
_PATIENCE_S = 20  # with one more call, and with the clearing, well within the function's minute


@dataclass(slots=True)
class Sent:
    """What became of a set of jobs.

    Attributes:
        accepted: video ids that SQS has taken.
        refused: SQS's reason by video id, for those it would not take.
        untried: video ids of the call that failed as a whole, or took too long, and of those after it.
        fault: why they were not tried; '' if all were.
    """

    accepted: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    untried: list[int] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Depth:
    """SQS's approximate counts of one or several queues.

    Attributes:
        visible: messages that wait.
        in_flight: messages received and not yet deleted.
    """

    visible: int
    in_flight: int


def message(job: Job, *, attempt: int, at: datetime) -> str:
    """The body that the platform's workers expect.

    Args:
        job: the video.
        attempt: 1 for the upload's own message; here the reclaims within seven days and one.
        at: when the message is sent, with an offset.
    """
    return json.dumps(
        {
            "video_id": job.video_id,
            "file_key": job.file_key,
            "tenant_id": job.tenant_id,
            "tenant_code": job.tenant_code,
            "created_at": at.isoformat(),
            "attempt": attempt,
        }
    )


def send(queue_url: str, bodies: Mapping[int, str]) -> Sent:
    """Send a message per video, ten a call.

    Never raises for what SQS does: the caller must first put down what was accepted. A call that fails as a
    whole ends the sending; SQS may have accepted its messages all the same, if only the answer was lost. So
    do calls that take too long together: what was sent must be put down before the function's time is over.
    """
    sqs: SQSClient = aws.client("sqs")
    sent, video_ids = Sent(), list(bodies)
    until_s = time.monotonic() + _PATIENCE_S
    for start in range(0, len(video_ids), _ENTRIES_PER_CALL):
        if start and time.monotonic() > until_s:
            sent.fault, sent.untried = f"SQS is slow: {start} in {_PATIENCE_S} s", video_ids[start:]
            break
        chunk = video_ids[start : start + _ENTRIES_PER_CALL]
        try:
            answer = sqs.send_message_batch(
                QueueUrl=queue_url,
                Entries=[{"Id": str(video_id), "MessageBody": bodies[video_id]} for video_id in chunk],
            )
        except (BotoCoreError, ClientError) as exc:
            sent.fault, sent.untried = aws.reason(exc), video_ids[start:]
            break
        accepted = {int(entry["Id"]) for entry in answer.get("Successful", [])}
        reasons = {int(entry["Id"]): entry["Code"] for entry in answer.get("Failed", [])}
        sent.accepted += [video_id for video_id in chunk if video_id in accepted]
        sent.refused |= {v: reasons.get(v, "not answered") for v in chunk if v not in accepted}
    return sent


def depth(queue_urls: Sequence[str]) -> Depth | None:
    """The depth of several queues together; None if any of them can't say."""
    sqs: SQSClient = aws.client("sqs")
    visible = in_flight = 0
    for queue_url in queue_urls:
        try:
            attributes = sqs.get_queue_attributes(
                QueueUrl=queue_url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
            visible += int(attributes["ApproximateNumberOfMessages"])
            in_flight += int(attributes["ApproximateNumberOfMessagesNotVisible"])
        except (BotoCoreError, ClientError, KeyError) as exc:
            log.event("queue depth unknown", queue=queue_url, error=type(exc).__name__, cause=aws.reason(exc))
            return None
    return Depth(visible, in_flight)
