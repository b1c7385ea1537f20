"""A transcode worker that encodes nothing: by the contract, or with the manners of the platform's own.

Each step of `Worker` can be called alone.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dev.local.worker.keys import Keys
from dev.local.worker.messages import FAILURES, REQUEST_ID_CHARACTERS, Messages
from dev.local.worker.records import Clock, Job, Manner, Pace, RealClock
from dev.local.worker.rows import Patience, Rows

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

Tell = Callable[[dict[str, Any]], None]
PROGRESS_RECORDS = 35
"""So many progress records there are in an encode."""

_RENEW_LOCK_EVERY_S = 300
_HOLD_EVERY_S, _HOLD_FOR_S, _GIVE_BACK_FOR_S = 90, 900, 60


class Worker:
    """One worker: receives a message, claims its video, sends heartbeats while it encodes, writes the result.

    Attributes:
        name: its name in ``leased_by``; up to 55 characters, without the prefix ``reclaim:``.
        manner: see `Manner`.
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
        manner: Manner = "contract",
        fenced: bool = False,
        failing_share: float = 0.0,
        seed: int | None = None,
        patience_s: float = 60,
        clock: Clock | None = None,
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
            manner: see the class.
            fenced: write the result only if the video is still its own, as `docs/worker-contract.md`
                recommends; the contract itself has no such condition.
            failing_share: share of the encoded videos that fail, 0 to 1.
            seed: seed for the choice of those.
            patience_s: real seconds without PostgreSQL or SQS after which it gives up.
            clock: by default the machine's.
            tell: called after every step with a record: ``at`` and ``began`` (seconds since the epoch),
                ``worker``, ``event`` and, if there is one, ``video`` and ``message``.

        Raises:
            ValueError: the name is empty, too long, or has the prefix of a handoff lease.
        """
        if not 1 <= len(name) <= 64 - REQUEST_ID_CHARACTERS - 1 or name.startswith("reclaim:"):
            raise ValueError(f"a worker can't be called {name!r}")
        self.name, self.manner = name, manner
        self._messages = Messages(sqs, queue_url)
        self._pace, self._clock = pace or Pace(), clock or RealClock()
        self._platform, self._older = manner != "contract", manner == "older"
        self._patience = Patience(name, self._clock, patience_s, self._pace.time_scale)
        self._rows = Rows(dsn, name, self._patience, leased=not self._older, fenced=fenced)
        self._keys = Keys(redis_url, self._pace)
        self._failing_share, self._random = failing_share, random.Random(seed)
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

        If the worker dies between this and `claim`, the video has neither a message nor a worker. On the older
        path the message is deleted at the end of the work instead.
        """
        began = self._clock.now()
        job = self._messages.receive(wait_s)
        if job is not None:
            self._record("received", job, began, attempt=job.attempt)
            if not self._older:
                self._delete(job)
        return job

    def begin(self, job: Job) -> object:
        """Do everything up to the claim; return what `claim` returns, None if there is nothing to encode."""
        if not self._platform:
            return self.claim(job)
        self.beat(job)
        since = None
        if not self._cancelled(job, "skipped") and self._lock(job):
            since = self.claim(job)
            if since is None and self._older:
                self._keys.unlock(job)
            elif since is None:
                self.requeue(job)
        if since is None:
            self._end_beat(job)
        return since

    def claim(self, job: Job) -> object:
        """Claim the video if it is UPLOADED; return the time of the claim, or None if it was refused.

        A claim whose answer was lost is found by the name in the lease. Tries again while PostgreSQL can't
        be reached. On the older path a video that is PROCESSING already counts as claimed.

        Raises:
            UnreachableError: for longer than ``patience_s``, or after `stop`.
        """
        began = self._clock.now()
        since = self._rows.claim(job.video_id, self.holder(job), self._pace.real_s(self._pace.lease_s))
        if since is None and self._older:
            status, started_at = self._rows.status(job.video_id)
            since = started_at if status == "PROCESSING" else None
            if status == "READY":
                self._delete(job)
        self._record("claimed" if since else "refused", job, began, manner=self.manner)
        return since

    def holder(self, job: Job) -> str:
        """Return what a claim writes into ``leased_by``."""
        return f"{self.name}-{job.request}" if self._platform else self.name

    def beat(self, job: Job, *, progress: bool = False) -> bool:
        """Write the heartbeat of the video, as a thread or a progress record does; return whether Redis took it."""
        began = self._clock.now()
        written = self._keys.beat(job, progress=progress)
        self._record("beat" if written else "beatFailed", job, began)
        return written

    def work(self, job: Job) -> bool:
        """Do everything that one message asks for; return whether the video was this worker's to encode."""
        since = self.begin(job)
        if since is None:
            return False
        self._encode(job)
        if not (self._platform and self._cancelled(job, "stopped")):
            failed = self._random.random() < self._failing_share
            self.complete(job, since, error="ffmpeg ended with status 1" if failed else None)
        if self._platform:
            self._end_beat(job)
        if self._older:
            self._keys.unlock(job)
            self._delete(job)
        return True

    def complete(self, job: Job, since: object, *, error: str | None = None) -> bool:
        """Set the video READY, or FAILED with ``error``, and clear the lease; return whether a row changed.

        Without ``fenced`` this overwrites any state that the video has reached meanwhile, as the contract
        has it. Tries again while PostgreSQL can't be reached.

        Raises:
            UnreachableError: for longer than ``patience_s``, or after `stop`.
        """
        began = self._clock.now()
        written = self._rows.complete(job.video_id, since, error)
        self._record("failed" if error else "completed", job, began, written=written)
        return written

    def requeue(self, job: Job) -> bool:
        """Take the video from whoever holds it and send a message again; return whether somebody held it."""
        began = self._clock.now()
        if not self._rows.take_by_force(job.video_id):
            return False
        try:
            self._messages.send_again(job)
        except FAILURES as exc:
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
            except FAILURES as exc:
                self._record("receiveFailed", None, self._clock.now(), cause=str(exc))
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

    def _encode(self, job: Job) -> None:
        """Let the time of one video pass, with what is due meanwhile."""
        pace, now = self._pace, self._clock.now()
        encode_s = pace.encode_s * pace.slowness
        ends = now + pace.real_s(encode_s)
        every: list[tuple[float, Callable[[], object]]] = [
            (pace.beat_every_s * pace.slowness, lambda: self.beat(job))
        ]
        if self._platform:
            every.append((encode_s / PROGRESS_RECORDS, lambda: self.beat(job, progress=True)))
        if self._older:
            every.append((_RENEW_LOCK_EVERY_S, lambda: self._keys.renew_lock(job)))
            every.append((_HOLD_EVERY_S, lambda: self._hide(job, _HOLD_FOR_S)))
        due = [now] + [now + pace.real_s(seconds) for seconds, _ in every[1:]]
        while True:
            for index, (seconds, step) in enumerate(every):
                if due[index] <= now:
                    step()
                    due[index] = now + pace.real_s(seconds)
            if now >= ends:
                return
            self._clock.sleep(max(0.0, min(ends, *due) - now))
            now = self._clock.now()

    def _cancelled(self, job: Job, event: str) -> bool:
        """Return whether the user's retry forbids to go on; a message that was kept is deleted then."""
        began = self._clock.now()
        if not self._keys.cancelled(job):
            return False
        if self._older and event == "skipped":
            self._delete(job)
        self._record(event, job, began)
        return True

    def _lock(self, job: Job) -> bool:
        """Return whether the work may begin; on the older path a message without its lock is given back."""
        if not self._older:
            return True
        began = self._clock.now()
        locked = self._keys.lock(job)
        self._record("locked" if locked else "lockFailed", job, began)
        if not locked:
            self._hide(job, _GIVE_BACK_FOR_S)
        return locked

    def _hide(self, job: Job, seconds: float) -> None:
        self._messages.hide(job, self._pace.real_s(seconds))

    def _end_beat(self, job: Job) -> None:
        began = self._clock.now()
        if self._keys.end_beat(job):
            self._record("beatDeleted", job, began)

    def _delete(self, job: Job) -> None:
        began = self._clock.now()
        try:
            self._messages.delete(job)
        except FAILURES:
            if not self._older:
                raise
            return  # the work is done; the message comes back
        self._record("deleted", job, began)

    def _record(self, event: str, job: Job | None, began: float, **details: object) -> None:
        known = {"video": job.video_id, "message": job.message} if job else {}
        told = {"at": self._clock.now(), "began": began, "worker": self.name, "event": event}
        self._tell({**told, **known, **details})
