"""A transcode worker that keeps the platform's contract and encodes nothing.

`docs/worker-contract.md` explains the contract. Each step of `Worker` can be called alone.
"""

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import psycopg2
import redis
from botocore.exceptions import BotoCoreError, ClientError
from psycopg2.extensions import connection as Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.local.worker.records import Job, Pace

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ClaimPath = Literal["leased", "unleased", "careless"]
Tell = Callable[[dict[str, Any]], None]

_SET_BY_CLAIM = {
    "leased": "leased_by = %(me)s, leased_until = now() + make_interval(secs => %(lease_s)s),",
    "unleased": "leased_by = '', leased_until = NULL,",
    "careless": "",
}
_CLAIM = """
UPDATE video_video SET status = 'PROCESSING', {lease} processing_started_at = now(), updated_at = now()
WHERE id = %(video)s AND status = 'UPLOADED' RETURNING processing_started_at
"""
_MINE = """
SELECT processing_started_at FROM video_video
WHERE id = %(video)s AND status = 'PROCESSING' AND leased_by = %(me)s
"""
_COMPLETE = """
UPDATE video_video
SET status = %(status)s, error_reason = %(reason)s, leased_by = '', leased_until = NULL, updated_at = now()
WHERE id = %(video)s
"""
_FENCE = " AND status = 'PROCESSING' AND leased_by = %(me)s AND processing_started_at = %(since)s"


class UnreachableError(RuntimeError):
    """PostgreSQL or SQS could not be reached for too long."""


class Worker:
    """One worker: receives a message, claims its video, sends heartbeats while it encodes, writes the result.

    Attributes:
        name: its name in ``leased_by``; up to 64 characters, without the prefix ``reclaim:``.
        cut_off: if true, it can't reach Redis: no heartbeat is written.
    """

    def __init__(
        self,
        name: str,
        *,
        sqs: "SQSClient",
        queue_url: str,
        dsn: str,
        redis_url: str,
        pace: Pace | None = None,
        path: ClaimPath = "leased",
        fenced: bool = False,
        failing_share: float = 0.0,
        seed: int | None = None,
        patience_s: float = 60,
        tell: Tell = lambda _event: None,
    ) -> None:
        """Prepare a worker; no connection is made.

        Args:
            name: see the class.
            sqs: a client for the queue.
            queue_url: the queue of its messages.
            dsn: the platform's database.
            redis_url: the Redis of its heartbeats.
            pace: by default that of the contract.
            path: how it claims. ``leased`` sets a lease. ``unleased`` is the older path, which clears it.
                ``careless`` is the older path in a form that leaves the columns of the lease as they are.
            fenced: write the result only if the video is still its own, as `docs/worker-contract.md`
                recommends; the contract itself has no such condition.
            failing_share: share of the encoded videos that fail, 0 to 1.
            seed: seed for the choice of those.
            patience_s: real seconds without PostgreSQL or SQS after which it gives up.
            tell: called after every step with a record: ``at`` and ``began`` (seconds since the epoch),
                ``worker``, ``event`` and, if there is one, ``video``.

        Raises:
            ValueError: the name is empty, too long, or has the prefix of a handoff lease.
        """
        if not 1 <= len(name) <= 64 or name.startswith("reclaim:"):
            raise ValueError(f"a worker can't be called {name!r}")
        self.name = name
        self.cut_off = False
        self._sqs, self._queue_url = sqs, queue_url
        self._dsn = dsn
        self._pace = pace or Pace()
        self._path, self._fenced = path, fenced
        self._failing_share = failing_share
        self._random = random.Random(seed)
        self._patience_s = patience_s
        self._failing_since_s: float | None = None
        self._tell = tell
        self._connection: Connection | None = None
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )
        self._stopping = False

    def receive(self, *, wait_s: int = 0) -> Job | None:
        """Receive one message, if one arrives within ``wait_s`` seconds, and delete it at once.

        If the worker dies between this and `claim`, the video has neither a message nor a worker.
        """
        began = time.time()
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s
        )
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            job = Job(body["video_id"], body["tenant_id"], body.get("attempt", 1), message["ReceiptHandle"])
            self._record("received", job, began, attempt=job.attempt, message=message["MessageId"])
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=job.receipt)
            self._record("deleted", job, began)
            return job
        return None

    def claim(self, job: Job) -> object:
        """Claim the video if it is UPLOADED; return the time of the claim, or None if it was refused.

        A claim whose answer was lost is found by the name in the lease. Tries again while PostgreSQL can't
        be reached.

        Raises:
            UnreachableError: for longer than ``patience_s``, or after `stop`.
        """
        began = time.time()
        parameters = {"video": job.video_id, "me": self.name, "lease_s": self._pace.lease_real_s}
        statement = _CLAIM.format(lease=_SET_BY_CLAIM[self._path])
        since = self._with_retries(lambda: self._one(statement, parameters) or self._one(_MINE, parameters))
        self._record("claimed" if since else "refused", job, began, path=self._path)
        return since

    def beat(self, job: Job) -> bool:
        """Write the heartbeat of the video; return whether Redis took it."""
        began = time.time()
        written = False
        if not self.cut_off:
            with suppress(redis.RedisError, OSError):
                written = bool(self._redis.set(job.heartbeat_key, "1", px=self._pace.beat_ttl_real_ms))
        self._record("beat" if written else "beatFailed", job, began)
        return written

    def complete(self, job: Job, since: object, *, error: str | None = None) -> bool:
        """Set the video READY, or FAILED with ``error``, and clear the lease; return whether a row changed.

        Without ``fenced`` this overwrites any state that the video has reached meanwhile, as the contract
        has it. Tries again while PostgreSQL can't be reached.

        Raises:
            UnreachableError: for longer than ``patience_s``, or after `stop`.
        """
        began = time.time()
        statement = _COMPLETE + (_FENCE if self._fenced else "")
        parameters = {
            "video": job.video_id,
            "status": "FAILED" if error else "READY",
            "reason": error,
            "me": self.name if self._path == "leased" else "",
            "since": since,
        }
        written = bool(self._with_retries(lambda: self._run(statement, parameters)))
        self._record("failed" if error else "completed", job, began, written=written)
        return written

    def work(self, job: Job) -> bool:
        """Claim, encode and complete the video of a message; return False if the claim was refused."""
        since = self.claim(job)
        if since is None:
            return False
        ends = time.monotonic() + self._pace.encode_real_s
        while True:
            self.beat(job)
            left = ends - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, self._pace.beat_every_real_s))
        failed = self._random.random() < self._failing_share
        self.complete(job, since, error="ffmpeg ended with status 1" if failed else None)
        return True

    def run(self, *, poll_s: int = 1, max_jobs: int | None = None) -> None:
        """Work until `stop`, or until ``max_jobs`` messages were received.

        Raises:
            UnreachableError: PostgreSQL or SQS could not be reached for ``patience_s`` seconds.
        """
        jobs = 0
        while not self._stopping and (max_jobs is None or jobs < max_jobs):
            try:
                job = self.receive(wait_s=poll_s)
            except (BotoCoreError, ClientError) as exc:
                self._record("receiveFailed", None, time.time(), cause=str(exc))
                self._wait_after_failure(exc)
                continue
            self._failing_since_s = None
            if job is not None:
                jobs += 1
                self.work(job)

    def stop(self) -> None:
        """Finish the current video, then end."""
        self._stopping = True

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._drop()

    def _with_retries(self, attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - the result of the attempt
        while True:
            try:
                result = attempt()
            except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError) as exc:
                self._drop()
                # InternalError: read-only during a failover, which ends soon.
                stopped = self._stopping and not isinstance(exc, psycopg2.InternalError)
                self._wait_after_failure(exc, give_up=stopped)
            else:
                self._failing_since_s = None
                return result

    def _wait_after_failure(self, exc: Exception, *, give_up: bool = False) -> None:
        now_s = time.monotonic()
        self._failing_since_s = self._failing_since_s or now_s
        failing_s = now_s - self._failing_since_s
        if give_up or failing_s > self._patience_s:
            cause = " ".join(str(exc).split())
            raise UnreachableError(f"{self.name} gives up after {failing_s:.1f} s: {cause}") from exc
        time.sleep(self._pace.time_scale)

    def _one(self, statement: str, parameters: dict[str, Any]) -> object:
        with self._connected().cursor() as cursor:
            cursor.execute(statement, parameters)
            row = cursor.fetchone()
            return row[0] if row else None

    def _run(self, statement: str, parameters: dict[str, Any]) -> int:
        with self._connected().cursor() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = psycopg2.connect(self._dsn, application_name=self.name, connect_timeout=5)
            self._connection.autocommit = True
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None

    def _record(self, event: str, job: Job | None, began: float, **details: object) -> None:
        video = {"video": job.video_id} if job else {}
        self._tell(
            {"at": time.time(), "began": began, "worker": self.name, "event": event, **video, **details}
        )
