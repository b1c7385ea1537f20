"""A worker's messages: it receives them, deletes them, hides them, and sends one again."""

import json
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from dev.local.worker.records import Job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FAILURES = (BotoCoreError, ClientError)
REQUEST_ID_CHARACTERS = 8


class Messages:
    """The worker's access to the queue. Calls raise botocore's errors, unless they say otherwise."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        self._sqs, self._url = sqs, url

    def receive(self, wait_s: int) -> Job | None:
        """Receive one message, if one arrives within ``wait_s`` seconds."""
        answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s)
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            given = body["video_id"], body["tenant_id"], body.get("attempt", 1)
            request = uuid.uuid4().hex[:REQUEST_ID_CHARACTERS]
            return Job(*given, message["ReceiptHandle"], message["MessageId"], request, body)
        return None

    def delete(self, job: Job) -> None:
        """Delete the message."""
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=job.receipt)

    def hide(self, job: Job, seconds: float) -> None:
        """Have the message come back after so long; where that fails, it comes back sooner."""
        with suppress(*FAILURES):
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=job.receipt, VisibilityTimeout=round(seconds)
            )

    def send_again(self, job: Job) -> None:
        """Send another message like the first one for this video."""
        body = {**job.body, "created_at": datetime.now(UTC).isoformat(), "attempt": 1}
        self._sqs.send_message(QueueUrl=self._url, MessageBody=json.dumps(body))
