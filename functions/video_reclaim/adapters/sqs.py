"""SQS: sends messages, and reads how many there are."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.rules.enqueueing import Sent

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

_ENTRIES_PER_CALL = 10
_MAX_DELAY_S = 900
_TIME_LIMIT_S = 20  # with one more call, and with the clearing, well within the function's minute


@dataclass(frozen=True, slots=True)
class Depth:
    """SQS's approximate counts of one or several queues.

    Attributes:
        visible: messages that wait.
        in_flight: messages that were received and not yet deleted.
        delayed: messages that cannot be received yet.
    """

    visible: int
    in_flight: int
    delayed: int

    @property
    def empty(self) -> bool:
        """Whether there is no message at all."""
        return self.visible + self.in_flight + self.delayed == 0


def send(
    queue_url: str, messages: Mapping[int, Mapping[str, object]], delays_s: Mapping[int, int] | None = None
) -> Sent:
    """Send a message per video id, ten per call, some of them delayed by so many seconds.

    Never raises for a failure of SQS: the caller must first record what was accepted. A call that fails as a
    whole ends the sending; SQS may have accepted its messages if only the answer was lost. Sending also ends
    after 20 s, so that the function has time left to record what was sent.
    """
    sqs: SQSClient = aws.client("sqs")
    sent, video_ids = Sent(), list(messages)
    give_up_s = time.monotonic() + _TIME_LIMIT_S
    for start in range(0, len(video_ids), _ENTRIES_PER_CALL):
        if start and time.monotonic() > give_up_s:
            sent.error, sent.not_sent = (
                f"SQS is slow: {start} messages in {_TIME_LIMIT_S} s",
                video_ids[start:],
            )
            break
        chunk = video_ids[start : start + _ENTRIES_PER_CALL]
        try:
            answer = sqs.send_message_batch(
                QueueUrl=queue_url,
                Entries=[
                    {
                        "Id": str(video_id),
                        "MessageBody": json.dumps(messages[video_id]),
                        "DelaySeconds": min((delays_s or {}).get(video_id, 0), _MAX_DELAY_S),
                    }
                    for video_id in chunk
                ],
            )
        except (BotoCoreError, ClientError) as exc:
            sent.error, sent.not_sent = aws.describe(exc), video_ids[start:]
            break
        accepted = {int(entry["Id"]) for entry in answer.get("Successful", [])}
        reasons = {int(entry["Id"]): entry["Code"] for entry in answer.get("Failed", [])}
        sent.accepted += [video_id for video_id in chunk if video_id in accepted]
        sent.refused |= {v: reasons.get(v, "not answered") for v in chunk if v not in accepted}
    return sent


_COUNTS: "Sequence[QueueAttributeNameType]" = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def read_depth(queue_urls: Sequence[str]) -> Depth | None:
    """Return the depth of several queues together; None if any of them is unknown."""
    sqs: SQSClient = aws.client("sqs")
    totals = [0, 0, 0]
    for queue_url in queue_urls:
        try:
            found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=_COUNTS)["Attributes"]
            totals = [total + int(found[name]) for total, name in zip(totals, _COUNTS, strict=True)]
        except (BotoCoreError, ClientError, KeyError) as exc:
            log.warning(
                "queue depth unknown", queue=queue_url, error=type(exc).__name__, cause=aws.describe(exc)
            )
            return None
    return Depth(*totals)
