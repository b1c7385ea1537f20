"""SQS: sends messages, and reads how many there are."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

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
    failures: list[tuple[str, bool]] = []  # of calls as a whole: why, and whether SQS refused them

    def send_chunk(chunk: list[int]) -> Sent:
        later = chunk is not chunks[0]  # the first call is always made, so that every retry gets further
        if later and not failures and time.monotonic() > give_up_s:
            slow = f"SQS is slow: not all of {len(ids)} messages were sent in {_TIME_LIMIT_S} s"
            failures.append((slow, False))
        if later and failures:
            return Sent(not_sent=chunk)
        try:
            return _send_call(sqs, queue_url, {id_: messages[id_] for id_ in chunk}, delays_s or {})
        except (BotoCoreError, ClientError) as exc:
            failures.append((aws.describe(exc), _is_refusal(exc)))
            return Sent(not_sent=chunk)

    with ThreadPoolExecutor(_CALLS_AT_ONCE) as calls:
        parts = list(calls.map(send_chunk, chunks))
    sent = Sent(error=failures[0][0] if failures else "", definite=all(one for _, one in failures))
    for part in parts:
        sent.accepted += part.accepted
        sent.repeated += part.repeated
        sent.refused |= part.refused
        sent.not_sent += part.not_sent
    return sent


def _is_refusal(exc: Exception) -> bool:
    """Tell whether SQS itself refused a call, so that none of its messages is in the queue. Throttling passes."""
    if not isinstance(exc, ClientError):
        return False
    about = exc.response.get("ResponseMetadata", {})
    client_error = 400 <= about.get("HTTPStatusCode", 0) < 500 and not about.get("RetryAttempts")
    return client_error and "Throttl" not in exc.response["Error"]["Code"]


def _send_call(
    sqs: "SQSClient",
    queue_url: str,
    messages: Mapping[int, Mapping[str, object]],
    delays_s: Mapping[int, int],
) -> Sent:
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
    failed = {int(entry["Id"]): entry["Code"] for entry in answer.get("Failed", [])}
    successful = {int(entry["Id"]) for entry in answer.get("Successful", [])}
    accepted = [video_id for video_id in messages if video_id in successful]
    twice = answer["ResponseMetadata"]["RetryAttempts"] > 0  # boto3 made the call again
    refused = {id_: failed.get(id_, "not answered") for id_ in messages if id_ not in successful}
    return Sent(accepted, list(accepted) if twice else [], refused)


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
