"""SQS: sends messages, and reads how many there are."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log
from video_reclaim.rules.enqueueing import Sent
from video_reclaim.rules.waiting import Depth as Depth

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

_ENTRIES_PER_CALL = 10
_MAX_DELAY_S = 900
_CALLS_AT_ONCE = 5  # more gain nothing with the share of a core that the function has (docs/performance.md)
_TIME_LIMIT_S = 20  # with one more call, and with the clearing, well within the function's minute


def send(
    queue_url: str, messages: Mapping[int, Mapping[str, object]], delays_s: Mapping[int, int] | None = None
) -> Sent:
    """Send a message per video id, some of them delayed by so many seconds.

    A call takes ten messages; up to five calls are made side by side. No call starts after one has failed as a
    whole, nor later than 20 s after the first, so that the function has time left to record what was sent.

    Never raises for a failure of SQS: the caller must first record what was accepted. A retry sends ``not_sent``
    alone. SQS may have accepted the messages of a call that failed, if only its answer was lost.
    """
    sqs: SQSClient = aws.client("sqs")
    ids = list(messages)
    chunks = [ids[start : start + _ENTRIES_PER_CALL] for start in range(0, len(ids), _ENTRIES_PER_CALL)]
    give_up_s = time.monotonic() + _TIME_LIMIT_S
    errors: list[str] = []
    definite: list[bool] = []

    def send_chunk(number: int) -> _Answer | None:
        """Make one call; None if it failed or was not started."""
        if number:  # the first call is always made, so that every retry gets further
            if not errors and time.monotonic() > give_up_s:
                errors.append(f"SQS is slow: not all of {len(ids)} messages were sent in {_TIME_LIMIT_S} s")
                definite.append(False)
            if errors:
                return None
        try:
            return _send_call(sqs, queue_url, {i: messages[i] for i in chunks[number]}, delays_s or {})
        except (BotoCoreError, ClientError) as exc:
            definite.append(_is_refusal(exc))
            errors.append(aws.describe(exc))
            return None

    if len(chunks) == 1:
        answers = [send_chunk(0)]
    else:
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as calls:
            answers = list(calls.map(send_chunk, range(len(chunks))))
    sent = Sent(error=errors[0] if errors else "", definite=all(definite))
    for chunk, answer in zip(chunks, answers, strict=True):
        if answer is None:
            sent.not_sent += chunk
            continue
        accepted = [video_id for video_id in chunk if not answer.reasons[video_id]]
        sent.accepted += accepted
        sent.repeated += accepted if answer.repeated else []
        sent.refused |= {video_id: reason for video_id, reason in answer.reasons.items() if reason}
    return sent


def _is_refusal(exc: Exception) -> bool:
    """Tell whether SQS itself refused a call, so that none of its messages is in the queue. Throttling passes."""
    if not isinstance(exc, ClientError):
        return False
    about = exc.response.get("ResponseMetadata", {})
    client_error = 400 <= about.get("HTTPStatusCode", 0) < 500 and not about.get("RetryAttempts")
    return client_error and "Throttl" not in exc.response["Error"]["Code"]


class _Answer(NamedTuple):
    """SQS's answer to one call: why it refused a message, by video id, and '' for those that it accepted."""

    reasons: dict[int, str]
    repeated: bool  # boto3 made the call twice


def _send_call(
    sqs: "SQSClient",
    queue_url: str,
    messages: Mapping[int, Mapping[str, object]],
    delays_s: Mapping[int, int],
) -> _Answer:
    """Send up to ten messages."""
    answer = sqs.send_message_batch(
        QueueUrl=queue_url,
        Entries=[
            {
                "Id": str(video_id),
                "MessageBody": json.dumps(body),
                "DelaySeconds": min(delays_s.get(video_id, 0), _MAX_DELAY_S),
            }
            for video_id, body in messages.items()
        ],
    )
    reasons = {int(entry["Id"]): entry["Code"] for entry in answer.get("Failed", [])}
    reasons |= {int(entry["Id"]): "" for entry in answer.get("Successful", [])}
    return _Answer(
        {video_id: reasons.get(video_id, "not answered") for video_id in messages},
        repeated=answer["ResponseMetadata"]["RetryAttempts"] > 0,
    )


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
