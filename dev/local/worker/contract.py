"""A transcode worker that keeps the platform's contract and encodes nothing.

`docs/worker-contract.md` explains the contract. Each step of `Worker` can be called alone.
"""

import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from dev.local.worker.keys import Keys
from dev.local.worker.records import ClaimPath, Habits, Job, Pace
from dev.local.worker.rows import Patience, Rows

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

Tell = Callable[[dict[str, Any]], None]
_REQUEST_ID = 8


class Worker:
    """One worker: receives a message, claims its video, sends heartbeats while it encodes, writes the result.

    Attributes:
        name: its name in ``leased_by``; up to 64 characters, without the prefix ``reclaim:``.
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
        habits: Habits | None = None,
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
            habits: habits of the platform's own workers; none by default.
            fenced: write the result only if the video is still its own, as `docs/worker-contract.md`
                recommends; the contract itself has no such condition.
            failing_share: share of the encoded videos that fail, 0 to 1.
            seed: seed for the choice of those.
            patience_s: real seconds without PostgreSQL or SQS after which it gives up.
            tell: called after every step with a record: ``at`` and ``began`` (seconds since the epoch),
                ``worker``, ``event`` and, if there is one, ``video`` and ``message``.

        Raises:
            ValueError: the name is empty, too long, or has the prefix of a handoff lease; or the path has a
                lease although the habits have a lock.
        """
        self._habits = habits or Habits()
        longest = 64 - (_REQUEST_ID + 1 if self._habits.request_ids else 0)
        if not 1 <= len(name) <= longest or name.startswith("reclaim:"):
            raise ValueError(f"a worker can't be called {name!r}")
        if self._habits.job_lock and path == "leased":
            raise ValueError("the path with the job's lock has no lease")
        self.name = name
        self._sqs, self._queue_url = sqs, queue_url
        self._pace = pace or Pace()
        self._path = path
        self._patience = Patience(name, patience_s, self._pace.time_scale)
        self._rows = Rows(dsn, name, self._patience, path=path, fenced=fenced)
        self._keys = Keys(redis_url, self._pace)
        self._failing_share = failing_share
        self._random = random.Random(seed)
        self._tell = tell

    @property
    def cut_off(self) -> bool:
        """Whether it can't reach Redis; its heartbeats are lost then."""
        return self._keys.cut_off

    @cut_off.setter
    def cut_off(self, value: bool) -> None:
        self._keys.cut_off = value

    def receive(self, *, wait_s: int = 0) -> Job | None:
        """Receive one message, if one arrives within ``wait_s`` seconds, and delete it at once.

        If the worker dies between this and `claim`, the video has neither a message nor a worker. With the
        habit ``job_lock`` the message is deleted at the end of the work instead.
        """
        began = time.time()
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s
        )
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            job = Job(
                body["video_id"],
                body["tenant_id"],
                body.get("attempt", 1),
                message["ReceiptHandle"],
                message["MessageId"],
                uuid.uuid4().hex[:_REQUEST_ID],
                body,
            )
            self._record("received", job, began, attempt=job.attempt)
            if not self._habits.job_lock:
                self._delete(job, began)
            return job
        return None

    def claim(self, job: Job) -> object:
        """Claim the video if it is UPLOADED; return the time of the claim, or None if it was refused.

        A claim whose answer was lost is found by the name in the lease. Tries again while PostgreSQL can't
        be reached. With the habit ``job_lock`` a video that is PROCESSING already counts as claimed.

        Raises:
            UnreachableError: for longer than ``patience_s``, or after `stop`.
        """
        began = time.time()
        since = self._rows.claim(job.video_id, self._holder(job), self._pace.lease_real_s)
        if since is None and self._habits.job_lock:
            status, started_at = self._rows.status(job.video_id)
            since = started_at if status == "PROCESSING" else None
            if status == "READY":
                self._delete(job, began)
        self._record("claimed" if since else "refused", job, began, path=self._path)
        return since

    def beat(self, job: Job) -> bool:
        """Write the heartbeat of the video; return whether Redis took it."""
        began = time.time()
        written = self._keys.beat(job)
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
        written = self._rows.complete(job.video_id, self._holder(job), since, error)
        self._record("failed" if error else "completed", job, began, written=written)
        return written

    def begin(self, job: Job) -> object:
        """Do everything up to the claim; return what `claim` returns, None if there is nothing to encode."""
        if self._habits.beats_early:
            self.beat(job)
        since = None
        if not self._skip(job) and self._lock(job):
            since = self.claim(job)
            if since is None:
                self._unlock(job)
                if self._habits.requeues_refused:
                    self.requeue(job)
        if since is None:
            self._end_beat(job)
        return since

    def work(self, job: Job) -> bool:
        """Do everything that one message asks for; return whether the video was this worker's to encode."""
        since = self.begin(job)
        if since is None:
            return False
        if self._encode(job):
            failed = self._random.random() < self._failing_share
            self.complete(job, since, error="ffmpeg ended with status 1" if failed else None)
        self._unlock(job)
        self._end_beat(job)
        if self._habits.job_lock:
            self._delete(job, time.time())
        return True

    def requeue(self, job: Job) -> bool:
        """Take the video from whoever holds it and send a message again; return whether somebody held it."""
        began = time.time()
        if not self._rows.take_by_force(job.video_id):
            return False
        body = {**job.body, "created_at": datetime.now(UTC).isoformat(), "attempt": 1}
        try:
            self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(body))
        except (BotoCoreError, ClientError) as exc:
            self._record("requeueFailed", job, began, cause=str(exc))
        else:
            self._record("requeued", job, began)
        return True

    def run(self, *, poll_s: int = 1, max_jobs: int | None = None) -> None:
        """Work until `stop`, or until ``max_jobs`` messages were received.

        Raises:
            UnreachableError: PostgreSQL or SQS could not be reached for ``patience_s`` seconds.
        """
        jobs = 0
        while not self._patience.stopping and (max_jobs is None or jobs < max_jobs):
            try:
                job = self.receive(wait_s=poll_s)
            except (BotoCoreError, ClientError) as exc:
                self._record("receiveFailed", None, time.time(), cause=str(exc))
                self._patience.wait(exc)
                continue
            self._patience.answered()
            if job is not None:
                jobs += 1
                self.work(job)

    def stop(self) -> None:
        """Finish the current video, then end."""
        self._patience.stopping = True

    def close(self) -> None:
        """Close the connections."""
        self._keys.close()
        self._rows.close()

    def _holder(self, job: Job) -> str:
        return f"{self.name}-{job.request}" if self._habits.request_ids else self.name

    def _encode(self, job: Job) -> bool:
        """Beat until the time of one video is over; return False if the encode was cancelled."""
        now = time.monotonic()
        ends, renewed = now + self._pace.encode_real_s, now
        while True:
            self.beat(job)
            now = time.monotonic()
            if now >= ends:
                return True
            if self._habits.honours_cancel and self._keys.cancelled(job):
                self._record("stopped", job, time.time())
                return False
            if self._habits.job_lock and now - renewed >= self._pace.renew_lock_every_real_s:
                self._keys.renew_lock(job)
                renewed = now
            time.sleep(min(ends - now, self._pace.beat_every_real_s))

    def _skip(self, job: Job) -> bool:
        """Return whether the user's retry forbids this message; delete it then."""
        began = time.time()
        if not (self._habits.honours_cancel and self._keys.cancelled(job)):
            return False
        if self._habits.job_lock:
            self._delete(job, began)
        self._record("skipped", job, began)
        return True

    def _lock(self, job: Job) -> bool:
        """Return whether the work may begin: with the habit ``job_lock``, whether the lock was free."""
        began = time.time()
        if not self._habits.job_lock:
            return True
        locked = self._keys.lock(job)
        self._record("locked" if locked else "lockFailed", job, began)
        return locked

    def _unlock(self, job: Job) -> None:
        if self._habits.job_lock:
            self._keys.unlock(job)

    def _end_beat(self, job: Job) -> None:
        began = time.time()
        if self._habits.beats_early and self._keys.end_beat(job):
            self._record("beatDeleted", job, began)

    def _delete(self, job: Job, began: float) -> None:
        try:
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=job.receipt)
        except (BotoCoreError, ClientError):
            if not self._habits.job_lock:
                raise
            return  # the work is done; the message comes back
        self._record("deleted", job, began)

    def _record(self, event: str, job: Job | None, began: float, **details: object) -> None:
        known = {"video": job.video_id, "message": job.message} if job else {}
        self._tell(
            {"at": time.time(), "began": began, "worker": self.name, "event": event, **known, **details}
        )
