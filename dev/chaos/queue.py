"""A small SQS with injected faults: the calls that the protocol uses, as AWS documents them.

boto3 serializes, retries and gives up as it does with the real service; where it would send its HTTP request, the
queue answers. Every message and what became of it is recorded.
"""

import io
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from dev.chaos.environment import current
from dev.local.emulator import CREDENTIALS, REGION

SendFault = Literal["refuses some", "throttles", "is away", "answer lost", "times out", "unheard"]

PLATFORM = "platform"
"""The sender of a message from the platform's users."""
WORKER = "worker"
"""The sender of a message that a worker sends again."""
OPERATOR = "operator"
"""The sender of a message that comes out of the dead-letter queue."""

_ENDPOINT = "http://sqs.invalid"
_MAX_RECEIVES = 3


class _Refusal(Exception):
    """An error that the caller is answered with: status and code."""


class _Raw(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


@dataclass(slots=True)
class _Message:
    id: str
    body: str
    visible_at: float
    receives: int = 0


@cache
def _session() -> boto3.Session:
    """Return the session that all clients of this process share: boto3 reads its data files once."""
    return boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])


@dataclass
class Queue:
    """One queue with its dead-letter queue."""

    now: Callable[[], float] = time.time  # returns the time, seconds since the epoch
    visibility_s: float = 300.0  # how long a received message is hidden
    # called for every message that is ``accepted``, ``received``, ``deleted`` or ``dead``
    tell: Callable[..., None] = lambda _event, **_details: None
    away: bool = False  # every call fails with 503 while this is set
    # by invocation, the fault of its next send; removed once it has occurred
    faults: dict[str, SendFault] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)  # the dead-letter queue's bodies
    url: str = f"{_ENDPOINT}/000000000000/academy-video-jobs"
    _waiting: deque[_Message] = field(default_factory=deque)
    _delayed: list[_Message] = field(default_factory=list)
    _hidden: dict[str, _Message] = field(default_factory=dict)  # by receipt handle

    def client(self) -> Any:  # noqa: ANN401
        """Return boto3's client for this queue."""
        config = Config(retries={"total_max_attempts": 3, "mode": "standard"})
        client = _session().client("sqs", region_name=REGION, endpoint_url=_ENDPOINT, config=config)
        client.meta.events.register("before-send.sqs", self._answer)  # type: ignore[arg-type]
        return client

    def bodies(self) -> list[dict[str, Any]]:
        """Return the bodies of all messages, visible, in flight or delayed, decoded."""
        return [json.loads(message.body) for message in self._all()]

    def put(self, body: str, *, sender: str, delay_s: float = 0) -> str:
        """Accept a message from ``sender``, which is not received for ``delay_s`` seconds; return its id."""
        message = _Message(str(uuid.uuid4()), body, self.now() + delay_s)
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

    def _all(self) -> list[_Message]:
        return [*self._waiting, *self._delayed, *self._hidden.values()]

    def _answer(self, request: Any, **_: object) -> AWSResponse:  # noqa: ANN401
        """Answer a request in place of the network. Raises botocore's errors for no answer."""
        target = request.headers["X-Amz-Target"]
        action = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        given = json.loads(request.body)
        calls: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "SendMessageBatch": self._send_batch,
            "SendMessage": lambda given: {"MessageId": self.put(given["MessageBody"], sender=WORKER)},
            "GetQueueAttributes": self._attributes,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "ChangeMessageVisibility": self._hide,
        }
        status, content = 200, {}
        try:
            if self.away:
                raise _Refusal(503, "ServiceUnavailable")
            content = calls[action](given)
        except _Refusal as refusal:
            status, code = refusal.args
            content = {"__type": code, "message": code}
        return AWSResponse(request.url, status, HTTPHeaders(), _Raw(json.dumps(content).encode()))

    def _send_batch(self, given: dict[str, Any]) -> dict[str, Any]:
        invocation = current()
        sender = invocation.id if invocation else WORKER
        fault = self.faults.get(sender)
        if fault == "throttles":
            raise _Refusal(400, "ThrottlingException")
        if fault == "is away":
            raise _Refusal(503, "ServiceUnavailable")
        self.faults.pop(sender, None)
        if fault == "unheard":
            raise ConnectionClosedError(endpoint_url=_ENDPOINT)
        entries = given["Entries"]
        refused = entries[:: 2 if len(entries) > 1 else 1] if fault == "refuses some" else []
        sent = [
            {
                "Id": entry["Id"],
                "MessageId": self.put(
                    entry["MessageBody"], sender=sender, delay_s=entry.get("DelaySeconds", 0)
                ),
            }
            for entry in entries
            if entry not in refused
        ]
        if fault == "answer lost":
            raise ConnectionClosedError(endpoint_url=_ENDPOINT)
        if fault == "times out":
            raise ReadTimeoutError(endpoint_url=_ENDPOINT)
        failed = [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in refused]
        return {"Successful": sent, "Failed": failed}

    def _attributes(self, given: dict[str, Any]) -> dict[str, Any]:
        self._fetch()
        known = {
            "ApproximateNumberOfMessages": len(self._waiting),
            "ApproximateNumberOfMessagesNotVisible": len(self._hidden),
            "ApproximateNumberOfMessagesDelayed": len(self._delayed),
        }
        return {"Attributes": {name: str(known[name]) for name in given["AttributeNames"]}}

    def _receive(self, _given: dict[str, Any]) -> dict[str, Any]:
        self._fetch()
        if not self._waiting:
            return {}
        message = self._waiting.popleft()
        message.receives += 1
        message.visible_at = self.now() + self.visibility_s
        receipt = f"{message.id} {message.receives}"
        self._hidden[receipt] = message
        self.tell("received", message=message.id, body=message.body)
        return {"Messages": [{"MessageId": message.id, "ReceiptHandle": receipt, "Body": message.body}]}

    def _hide(self, given: dict[str, Any]) -> dict[str, Any]:
        if message := self._hidden.get(given["ReceiptHandle"]):
            message.visible_at = self.now() + given["VisibilityTimeout"]
        return {}

    def _delete(self, given: dict[str, Any]) -> dict[str, Any]:
        if message := self._hidden.pop(given["ReceiptHandle"], None):
            self.tell("deleted", message=message.id, body=message.body)
        return {}

    def _fetch(self) -> None:
        """Make messages visible whose time-out or delay is over."""
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
