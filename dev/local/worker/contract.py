"""A transcode worker that encodes nothing: by the contract, or with the manners of the platform's own."""

import json
import random
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from botocore.exceptions import BotoCoreError, ClientError
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.local.worker import rows
from dev.local.worker.pace import Job, Manner, Pace

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FAILURES = (BotoCoreError, ClientError)
"""What calls to AWS raise."""

_PROGRESS_RECORDS, _PROGRESS_TTL_S = 35, 300  # in an encode; life of a heartbeat after one
_LIVES_MS = 60_000  # so long at least a heartbeat, whatever the time scale (docs/worker-contract.md)
_LOCK_S, _RENEW_LOCK_EVERY_S = 14_400, 300
_HOLD_EVERY_S, _HOLD_FOR_S, _GIVE_BACK_FOR_S = 90, 900, 60
_REQUEST_ID_CHARACTERS = 8
_PATIENCE_S = 60


class UnreachableError(RuntimeError):
    """PostgreSQL or SQS could not be reached for too long."""


@dataclass(kw_only=True, eq=False)
class Worker:
    """One worker: receives a message, claims its video, sends heartbeats while it encodes, writes the result.

    Each step can be called alone. What needs PostgreSQL is tried again while that can't be reached; after a minute, or
    after `stop`, it raises `UnreachableError`.

    After every step ``tell`` gets a record: ``at`` (seconds since the epoch), ``worker``, ``event`` and, if there is
    one, ``video`` and ``message``.
    """

    name: str = field(kw_only=False)  # in ``leased_by``; up to 55 characters, without the prefix ``reclaim:``
    sqs: "SQSClient"
    queue_url: str
    dsn: str
    redis_url: str
    pace: Pace = field(default_factory=Pace)
    manner: Manner = "contract"
    fenced: bool = False  # write the result only if the video is still its own, as the contract recommends
    failing_share: float = 0.0  # share of the encoded videos that fail, 0 to 1
    seed: int | None = None  # for the choice of those
    now: Callable[[], float] = time.time  # returns seconds since the epoch
    sleep: Callable[[float], object] = time.sleep
    tell: Callable[[dict[str, Any]], object] = lambda _event: None
    cut_off: bool = False  # whether it can't reach Redis; its heartbeats are lost then

    def __post_init__(self) -> None:
        self._platform, self._older = self.manner != "contract", self.manner == "older"
        self._random, self._stopping = random.Random(self.seed), False
        self._rows = rows.Rows(self.dsn, self.name)
        self._redis = redis.Redis.from_url(
            self.redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )

    def receive(self, *, wait_s: int = 0) -> Job | None:
        """Receive one message, if one arrives within ``wait_s`` seconds, and delete it at once.

        If the worker dies between this and `claim`, the video has neither a message nor a worker. On the older
        path the message is deleted at the end of the work instead.
        """
        answer = self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s
        )
        for message in answer.get("Messages", []):
            body, request = json.loads(message["Body"]), uuid.uuid4().hex[:_REQUEST_ID_CHARACTERS]
            job = Job(message["ReceiptHandle"], message["MessageId"], request, body)
            self._record("received", job)
            if not self._older:
                self._delete(job)
            return job
        return None

    def begin(self, job: Job) -> object:
        """Do everything up to the claim; return what `claim` returns, None if there is nothing to encode."""
        if not self._platform:
            return self.claim(job)
        self.beat(job)
        since = None
        if not self._cancelled(job, "skipped") and (not self._older or self._lock(job)):
            since = self.claim(job)
            if since is None and self._older:
                self._ask_redis("DEL", job.lock_key)
            elif since is None:
                self._requeue(job)
        if since is None:
            self._end_beat(job)
        return since

    def claim(self, job: Job) -> object:
        """Claim the video if it is UPLOADED; return the time of the claim, or None if it was refused.

        A claim whose answer was lost is found by the name in the lease. On the older path a video that is
        PROCESSING already counts as claimed.
        """
        claimed = {
            "video": job.video_id,
            "me": f"{self.name}-{job.request}" if self._platform else self.name,
            "lease_s": self.pace.real_s(self.pace.lease_s),
        }
        statement = rows.CLAIM_WITHOUT_LEASE if self._older else rows.CLAIM
        found = self._row(statement, **claimed) or self._row(rows.MINE, **claimed)
        since = found[0] if found else None
        if since is None and self._older:
            status, started_at = self._row(rows.STATUS, video=job.video_id) or ("", None)
            since = started_at if status == "PROCESSING" else None
            if status == "READY":
                self._delete(job)
        self._record("claimed" if since else "refused", job, manner=self.manner)
        return since

    def beat(self, job: Job, *, progress: bool = False) -> bool:
        """Write the heartbeat of the video, as a thread or a progress record does; return whether Redis took it."""
        ttl_ms = max(_LIVES_MS, self.pace.real_ms(_PROGRESS_TTL_S)) if progress else _LIVES_MS
        written = self._ask_redis("SET", job.key("heartbeat"), "1", "PX", ttl_ms)
        self._record("beat" if written else "beatFailed", job)
        return written

    def work(self, job: Job) -> bool:
        """Do everything that one message asks for; return whether the video was this worker's to encode."""
        since = self.begin(job)
        if since is None:
            return False
        self._encode(job)
        cancelled = self._platform and self._cancelled(job, "stopped")
        error = "ffmpeg ended with status 1" if self._random.random() < self.failing_share else None
        ended = not cancelled and self.complete(job, since, error=error)
        if self._platform or (self.fenced and ended):  # without the fence the row may have been another's
            self._end_beat(job)
        if self._older:
            self._ask_redis("DEL", job.lock_key)
            self._delete(job)
        return True

    def complete(self, job: Job, since: object, *, error: str | None = None) -> bool:
        """Set the video READY, or FAILED with ``error``, and clear the lease; return whether a row changed.

        Without ``fenced`` this overwrites any state that the video has reached meanwhile, as the contract has it.
        """
        statement = rows.COMPLETE_FENCED if self.fenced else rows.COMPLETE
        status = "FAILED" if error else "READY"
        found = self._row(statement, video=job.video_id, status=status, reason=error, since=since)
        self._record("failed" if error else "completed", job, written=bool(found))
        return bool(found)

    def run(self, *, poll_s: int = 1, max_jobs: int | None = None) -> None:
        """Work until `stop`, or until ``max_jobs`` messages were received; SQS is waited for as PostgreSQL is."""
        while not self._stopping and (max_jobs is None or max_jobs > 0):
            job = self._insist(partial(self.receive, wait_s=poll_s))
            if job is not None:
                max_jobs = max_jobs and max_jobs - 1
                self.work(job)

    def stop(self) -> None:
        """Finish the current video, then end."""
        self._stopping = True

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._rows.close()

    def _encode(self, job: Job) -> None:
        """Let the time of one video pass, with what is due meanwhile."""
        pace, now = self.pace, self.now()
        ends = now + pace.real_s(pace.encode_s)
        every: list[tuple[float, Callable[[], object]]] = [(pace.beat_every_s, partial(self.beat, job))]
        if self._platform:
            every.append((pace.encode_s / _PROGRESS_RECORDS, partial(self.beat, job, progress=True)))
        if self._older:
            renew = partial(self._ask_redis, "PEXPIRE", job.lock_key, pace.real_ms(_LOCK_S))
            every += [(_RENEW_LOCK_EVERY_S, renew), (_HOLD_EVERY_S, partial(self._hide, job, _HOLD_FOR_S))]
        due = [now] + [now + pace.real_s(seconds) for seconds, _ in every[1:]]
        while True:
            for index, (seconds, step) in enumerate(every):
                if due[index] <= now:
                    step()
                    due[index] = now + pace.real_s(seconds)
            if now >= ends:
                return
            self.sleep(max(0.0, min(ends, *due) - now))
            now = self.now()

    def _cancelled(self, job: Job, event: str) -> bool:
        """Return whether the user's retry forbids to go on; a message that was kept is deleted then."""
        if not self._ask_redis("EXISTS", job.key("cancel_requested")):
            return False
        if self._older and event == "skipped":
            self._delete(job)
        self._record(event, job)
        return True

    def _requeue(self, job: Job) -> None:
        """Take the video from whoever holds it and, if somebody did, send a message again."""
        if self._row(rows.TAKE_BY_FORCE, video=job.video_id):
            try:
                body = {**job.body, "created_at": datetime.now(UTC).isoformat(), "attempt": 1}
                self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(body))
            except FAILURES as exc:
                self._record("requeueFailed", job, cause=str(exc))
            else:
                self._record("requeued", job)

    def _lock(self, job: Job) -> bool:
        """Take the older path's lock, and return whether it was free; if not, give the message back."""
        locked = self._ask_redis("SET", job.lock_key, "1", "NX", "PX", self.pace.real_ms(_LOCK_S))
        self._record("locked" if locked else "lockFailed", job)
        if not locked:
            self._hide(job, _GIVE_BACK_FOR_S)
        return locked

    def _hide(self, job: Job, seconds: float) -> None:
        """Have the message come back after so long; where that fails, it comes back sooner."""
        hidden = {"QueueUrl": self.queue_url, "ReceiptHandle": job.receipt}
        with suppress(*FAILURES):
            self.sqs.change_message_visibility(**hidden, VisibilityTimeout=round(self.pace.real_s(seconds)))

    def _end_beat(self, job: Job) -> None:
        """Delete the heartbeat, whoever has set it."""
        began = self.now()
        if self._ask_redis("DEL", job.key("heartbeat")):
            self._record("beatDeleted", job, began=began)

    def _delete(self, job: Job) -> None:
        try:
            self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=job.receipt)
        except FAILURES:
            if not self._older:
                raise
            return  # the work is done; the message comes back
        self._record("deleted", job)

    def _ask_redis(self, *command: str | int) -> bool:
        """Return whether the answer is other than 0 and nil; False too if Redis does not answer."""
        if self.cut_off:
            return False
        with suppress(redis.RedisError, OSError):
            return bool(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]
        return False

    def _row(self, statement: str, **parameters: object) -> Any:  # noqa: ANN401 - a row or None
        return self._insist(partial(self._rows.one, statement, **parameters))

    def _insist(self, attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - the result of the attempt
        """Try until there is an answer, or raise `UnreachableError`."""
        began_s = self.now()
        while True:
            try:
                return attempt()
            except (*FAILURES, *rows.FAILURES) as exc:
                failing_s = self.now() - began_s
                if self._stopping or failing_s > _PATIENCE_S:
                    cause = " ".join(str(exc).split())
                    raise UnreachableError(f"{self.name} gives up after {failing_s:.1f} s: {cause}") from exc
                self.sleep(self.pace.time_scale)

    def _record(self, event: str, job: Job | None = None, **details: object) -> None:
        known = {"video": job.video_id, "message": job.message} if job else {}
        self.tell({"at": self.now(), "worker": self.name, "event": event, **known, **details})
