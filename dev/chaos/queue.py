"""A small SQS server with injected faults: the calls that the protocol uses, as AWS documents them.

It serves AWS's JSON protocol over HTTP, so that boto3 serializes, retries and times out as it does with the
real service. Every message and what became of it is recorded.
"""

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Literal, Self

from dev.chaos.sqs_server import Answer, Handler, Server, Silence

SendFault = Literal["refuses some", "throttles", "is away", "answer lost", "times out", "unheard"]
PATIENCE_S = 0.4
"""The product's time-out for an answer, seconds; a call that `times out` takes 1.5 times as long."""

PLATFORM = "platform"
"""The sender of a message from the platform's users."""
WORKER = "worker"
"""The sender of a message that a worker sends again."""
OPERATOR = "operator"
"""The sender of a message that comes out of the dead-letter queue."""

MAX_RECEIVES = 3
_MAX_DELAY_S = 900
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")

Tell = Callable[..., None]


@dataclass(slots=True)
class _Message:
    id: str
    body: str
    visible_at: float
    receives: int = 0
    receipt: str = ""


@dataclass
class Queue:
    """One queue with its dead-letter queue."""

    now: Callable[[], float] = time.time  # returns the time, seconds since the epoch
    visibility_s: float = 300.0  # how long a received message is hidden
    # called for every message that is ``accepted``, ``received``, ``deleted`` or ``dead``
    tell: Tell = lambda _event, **_details: None
    away: bool = False  # every call fails with 503 while this is set
    # by invocation, the fault of its next send; removed once it has occurred
    faults: dict[str, SendFault] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)  # the dead-letter queue's bodies
    _waiting: deque[_Message] = field(default_factory=deque)
    _delayed: list[_Message] = field(default_factory=list)
    _hidden: dict[str, _Message] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        """Listen on a free port of the loopback interface."""
        handler = type("Handler", (Handler,), {"serve": staticmethod(self.call)})
        self._server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="queue", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self.away = True
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def endpoint_url(self) -> str:
        """The server's URL."""
        if self._server is None:
            raise RuntimeError("the queue was not started")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The queue's URL."""
        return f"{self.endpoint_url}/000000000000/academy-video-jobs"

    def bodies(self) -> list[dict[str, Any]]:
        """Return the bodies of all messages, visible, in flight or delayed, decoded."""
        with self._lock:
            return [json.loads(message.body) for message in self._all()]

    def put(self, body: str, *, sender: str, delay_s: float = 0) -> str:
        """Accept a message from ``sender``, which is not received for ``delay_s`` seconds; return its id."""
        message = _Message(str(uuid.uuid4()), body, self.now() + delay_s)
        self.tell("accepted", message=message.id, body=body, sender=sender, delay_s=delay_s)
        with self._lock:
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
        with self._lock:
            for message in self._all():
                self.tell("deleted", message=message.id, body=message.body)
            self._waiting.clear()
            self._delayed.clear()
            self._hidden.clear()

    def _all(self) -> list[_Message]:
        return [*self._waiting, *self._delayed, *self._hidden.values()]

    def call(self, action: str, request: dict[str, Any], invocation: str) -> dict[str, Any]:
        """Serve one call. Raises `Answer` for an error, `Silence` for no answer."""
        if self.away:
            raise Answer(503, "ServiceUnavailable", "Service is unavailable")
        if request.get("QueueUrl") != self.url:
            raise Answer(400, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist")
        if action == "SendMessageBatch":
            return self._send(request["Entries"], invocation)
        if action == "GetQueueAttributes":
            return self._attributes(request["AttributeNames"])
        if action == "SendMessage":
            message_id = self.put(request["MessageBody"], sender=invocation or WORKER)
            return {"MessageId": message_id, "MD5OfMessageBody": _digest(request["MessageBody"])}
        if action == "ReceiveMessage":
            return self._receive(request.get("MaxNumberOfMessages", 1), request.get("WaitTimeSeconds", 0))
        if action == "DeleteMessage":
            return self._delete(request["ReceiptHandle"])
        if action == "ChangeMessageVisibility":
            return self._hide(request["ReceiptHandle"], request["VisibilityTimeout"])
        raise Answer(400, "InvalidAction", f"{action} is not served here")

    def _attributes(self, names: list[str]) -> dict[str, Any]:
        with self._lock:
            self._fetch()
            known = {
                "ApproximateNumberOfMessages": len(self._waiting),
                "ApproximateNumberOfMessagesNotVisible": len(self._hidden),
                "ApproximateNumberOfMessagesDelayed": len(self._delayed),
            }
        return {"Attributes": {name: str(known[name]) for name in names}}

    def _send(self, entries: list[dict[str, Any]], invocation: str) -> dict[str, Any]:
        if not 1 <= len(entries) <= 10:
            raise Answer(400, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", str(len(entries)))
        ids = [entry["Id"] for entry in entries]
        if len(set(ids)) < len(ids) or not all(_ENTRY_ID.fullmatch(id_) for id_ in ids):
            raise Answer(400, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", ", ".join(ids))
        fault = self.faults.get(invocation)
        if fault == "unheard":
            self.faults.pop(invocation)
            raise Silence
        if fault == "throttles":
            raise Answer(400, "ThrottlingException", "Rate exceeded")
        if fault == "is away":
            raise Answer(503, "ServiceUnavailable", "Service is unavailable")
        refused = ids[:: 2 if len(ids) > 1 else 1] if fault == "refuses some" else []
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in entries:
            if entry["Id"] in refused:
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                continue
            delay_s = entry.get("DelaySeconds", 0)
            if not 0 <= delay_s <= _MAX_DELAY_S:
                raise Answer(400, "InvalidParameterValue", f"DelaySeconds {delay_s}")
            message_id = self.put(entry["MessageBody"], sender=invocation, delay_s=delay_s)
            digest = _digest(entry["MessageBody"])
            answer["Successful"].append(
                {"Id": entry["Id"], "MessageId": message_id, "MD5OfMessageBody": digest}
            )
        self.faults.pop(invocation, None)
        if fault == "answer lost":
            raise Silence
        if fault == "times out":
            time.sleep(PATIENCE_S * 1.5)
            raise Silence
        return answer

    def _receive(self, most: int, wait_s: float) -> dict[str, Any]:
        give_up_s = time.monotonic() + wait_s
        while not self._fetch() and not self.away and time.monotonic() < give_up_s:
            time.sleep(0.02)
        with self._lock:
            answer: list[dict[str, str]] = []
            while self._waiting and len(answer) < most:
                message = self._waiting.popleft()
                message.receives += 1
                message.receipt = base64.b64encode(uuid.uuid4().bytes).decode()
                message.visible_at = self.now() + self.visibility_s
                self._hidden[message.receipt] = message
                answer.append(
                    {"MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body}
                )
                self.tell("received", message=message.id, body=message.body)
        return {"Messages": answer} if answer else {}

    def _hide(self, receipt: str, seconds: float) -> dict[str, Any]:
        with self._lock:
            if receipt in self._hidden:
                self._hidden[receipt].visible_at = self.now() + seconds
        return {}

    def _fetch(self) -> bool:
        """Make messages visible whose time-out or delay is over; return whether any can be received."""
        with self._lock:
            return self._fetch_due(self.now())

    def _fetch_due(self, now: float) -> bool:
        due = [message for message in self._delayed if message.visible_at <= now]
        self._delayed = [message for message in self._delayed if message.visible_at > now]
        self._waiting.extend(due)
        for receipt, message in list(self._hidden.items()):
            if message.visible_at <= now:
                del self._hidden[receipt]
                if message.receives >= MAX_RECEIVES:
                    self.dead.append(message.body)
                    self.tell("dead", message=message.id, body=message.body)
                else:
                    self._waiting.append(message)
        return bool(self._waiting)

    def _delete(self, receipt: str) -> dict[str, Any]:
        with self._lock:
            message = self._hidden.pop(receipt, None)
            if message is not None:
                self.tell("deleted", message=message.id, body=message.body)
        return {}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _digest(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
