"""A small SQS with injected faults: the calls of boto3's client that the protocol uses, as AWS documents them.

Every message and what became of it is recorded.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

SendFault = Literal["refuses some", "throttles", "is away", "answer lost", "times out", "unheard"]
"""What may become of a call that sends messages.

``answer lost``: SQS accepts it, and boto3 makes the call again. ``times out``: SQS accepts it, but boto3 gives up.
``unheard``: SQS does not receive it.
"""

PLATFORM = "platform"
"""The sender of a message from the platform's users."""
WORKER = "worker"
"""The sender of a message that a worker sends again."""
OPERATOR = "operator"
"""The sender of a message that comes out of the dead-letter queue."""

_ENDPOINT = "http://sqs.invalid"
_MAX_RECEIVES = 3


@dataclass(slots=True)
class _Message:
    id: str
    body: str
    visible_at: float
    receives: int = 0


@dataclass
class FaultyQueue:
    """One queue with its dead-letter queue; it takes the place of boto3's client, too."""

    now: Callable[[], float]  # returns the time, seconds since the epoch
    tell: Callable[..., None]  # called for every message that is accepted, received, deleted or dead
    visibility_s: float = 300.0  # how long a received message is hidden
    away: bool = False  # every call fails with 503 while this is set
    faults: dict[str, SendFault] = field(default_factory=dict)  # by sender, the fault of its next send
    dead: list[str] = field(default_factory=list)  # the dead-letter queue's bodies
    url: str = f"{_ENDPOINT}/000000000000/academy-video-jobs"
    _waiting: deque[_Message] = field(default_factory=deque)
    _delayed: list[_Message] = field(default_factory=list)
    _hidden: dict[str, _Message] = field(default_factory=dict)  # by receipt handle
    _accepted: int = 0

    def bodies(self) -> list[dict[str, Any]]:
        """Return the bodies of all messages, visible, in flight or delayed, decoded."""
        return [json.loads(message.body) for message in self._all()]

    def put(self, body: str, *, sender: str, delay_s: float = 0) -> str:
        """Accept a message from ``sender``, which is not received for ``delay_s`` seconds; return its id."""
        self._accepted += 1
        message = _Message(f"message-{self._accepted}", body, self.now() + delay_s)
        self.tell("accepted", message=message.id, body=body, sender=sender, delay_s=delay_s)
        (self._delayed if delay_s else self._waiting).append(message)
        return message.id

    def redrive(self) -> list[int]:
        """Send again what is in the dead-letter queue, as an operator does; return the videos' ids."""
        bodies, self.dead[:] = list(self.dead), []
        for body in bodies:
            self.put(body, sender=OPERATOR)
        return [json.loads(body)["video_id"] for body in bodies]

    def purge(self) -> None:
        """Delete every message."""
        for message in self._all():
            self.tell("deleted", message=message.id, body=message.body)
        for messages in (self._waiting, self._delayed, self._hidden):
            messages.clear()

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Any], sender: str) -> dict[str, Any]:
        """Send up to ten messages, or fail in the way that ``faults`` has for the sender."""
        fault = self.faults.pop(sender, None)
        if fault == "throttles":
            raise _refusal(400, "ThrottlingException")
        if fault == "unheard":
            raise ConnectionClosedError(endpoint_url=_ENDPOINT)
        if fault == "is away":
            raise _refusal(503, "ServiceUnavailable")
        self._answer()
        refused = Entries[:: 2 if len(Entries) > 1 else 1] if fault == "refuses some" else []
        taken = [entry for entry in Entries if entry not in refused]
        for entry in taken * (2 if fault == "answer lost" else 1):
            self.put(entry["MessageBody"], sender=sender, delay_s=entry["DelaySeconds"])
        if fault == "times out":
            raise ReadTimeoutError(endpoint_url=_ENDPOINT)
        return {
            "Successful": [{"Id": entry["Id"]} for entry in taken],
            "Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in refused],
            "ResponseMetadata": {"RetryAttempts": int(fault == "answer lost")},
        }

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:
        """Send one message, as a worker does."""
        self._answer()
        self.put(MessageBody, sender=WORKER)

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: object) -> dict[str, Any]:
        """Return how many messages there are."""
        self._answer()
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(len(self._waiting)),
                "ApproximateNumberOfMessagesNotVisible": str(len(self._hidden)),
                "ApproximateNumberOfMessagesDelayed": str(len(self._delayed)),
            }
        }

    def receive_message(self, **_: object) -> dict[str, Any]:
        """Return one message, if there is one, which is hidden from others then."""
        self._answer()
        if not self._waiting:
            return {}
        message = self._waiting.popleft()
        message.receives += 1
        message.visible_at = self.now() + self.visibility_s
        receipt = f"{message.id} {message.receives}"
        self._hidden[receipt] = message
        self.tell("received", message=message.id, body=message.body)
        return {"Messages": [{"MessageId": message.id, "ReceiptHandle": receipt, "Body": message.body}]}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        """Hide a message for so many seconds from now."""
        self._answer()
        if message := self._hidden.get(ReceiptHandle):
            message.visible_at = self.now() + VisibilityTimeout

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        """Delete a message that was received."""
        self._answer()
        if message := self._hidden.pop(ReceiptHandle, None):
            self.tell("deleted", message=message.id, body=message.body)

    def _all(self) -> list[_Message]:
        return [*self._waiting, *self._delayed, *self._hidden.values()]

    def _answer(self) -> None:
        """Raise ClientError while SQS is away; else make messages visible whose time-out or delay is over."""
        if self.away:
            raise _refusal(503, "ServiceUnavailable")
        now = self.now()
        self._waiting.extend(message for message in self._delayed if message.visible_at <= now)
        self._delayed = [message for message in self._delayed if message.visible_at > now]
        for receipt, message in list(self._hidden.items()):
            if message.visible_at > now:
                continue
            del self._hidden[receipt]
            if message.receives < _MAX_RECEIVES:
                self._waiting.append(message)
            else:
                self.dead.append(message.body)
                self.tell("dead", message=message.id, body=message.body)


def _refusal(status: int, code: str) -> ClientError:
    """Return the error of a call that boto3 has made three times."""
    about: Any = {"HTTPStatusCode": status, "RetryAttempts": 2}
    return ClientError({"Error": {"Code": code, "Message": code}, "ResponseMetadata": about}, "SQS")
