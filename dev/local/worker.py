"""A transcode worker that keeps the platform's contract to the letter, and encodes nothing.

It stands in for the academy's real workers in the demo and in the tests; `docs/worker-contract.md` explains
the contract. ``python -m dev.local.worker`` runs one against the local stack until it is told to stop, and
prints what it does as a JSON object a line. As a process it can be killed, paused (SIGSTOP, SIGCONT) and cut
off from Redis (SIGUSR1, undone by SIGUSR2); `WorkerProcess` does that. As an object, each of its steps can be
taken alone.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg2
import redis
from botocore.exceptions import BotoCoreError, ClientError
from psycopg2.extensions import connection as Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.local import ROOT
from dev.local.processes import Child

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


@dataclass(frozen=True, slots=True)
class Pace:
    """The contract's times, and how fast they pass.

    Attributes:
        time_scale: seconds of real time for a second of the contract's; 1/60 makes a minute last a second.
        lease_s: how long a claim is good for.
        beat_every_s: seconds between heartbeats.
        beat_ttl_s: how long a heartbeat is heard.
        encode_s: how long one video takes.
        slowness: a slow worker beats and encodes this many times slower.
    """

    time_scale: float = 1.0
    lease_s: float = 14_400
    beat_every_s: float = 20
    beat_ttl_s: float = 60
    encode_s: float = 60
    slowness: float = 1.0

    @property
    def lease_real_s(self) -> float:
        """A lease in real seconds."""
        return self.lease_s * self.time_scale

    @property
    def beat_every_real_s(self) -> float:
        """The time between heartbeats in real seconds."""
        return self.beat_every_s * self.time_scale * self.slowness

    @property
    def beat_ttl_real_ms(self) -> int:
        """A heartbeat's time to live in real milliseconds."""
        return max(1, round(self.beat_ttl_s * self.time_scale * 1000))

    @property
    def encode_real_s(self) -> float:
        """One video's time in real seconds."""
        return self.encode_s * self.time_scale * self.slowness


@dataclass(frozen=True, slots=True)
class Job:
    """A received message.

    Attributes:
        video_id: the video to encode.
        tenant_id: names the heartbeat's key, with the video.
        attempt: 1 for the upload's own message; 1 where an old sender left it out.
        receipt: what SQS wants to see for deleting the message.
    """

    video_id: int
    tenant_id: int
    attempt: int
    receipt: str

    @property
    def heartbeat_key(self) -> str:
        """The Redis key that says somebody works on this video."""
        return f"tenant:{self.tenant_id}:video:{self.video_id}:heartbeat"


class Worker:
    """One worker: takes a message, claims its video, beats while it encodes, and puts down how it ended.

    Attributes:
        name: who it is in ``leased_by``; at most 64 characters, not beginning with ``reclaim:``.
        cut_off: it can't reach Redis; its beats go unheard.
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
        tell: Tell = lambda _event: None,
    ) -> None:
        """Prepare a worker; nothing is connected yet.

        Args:
            name: see the class.
            sqs: a client for the queue.
            queue_url: where its messages come from.
            dsn: the platform's database.
            redis_url: where its heartbeats go.
            pace: the contract's own by default.
            path: how it claims. ``leased`` sets the lease; ``unleased`` is the older path, which has none;
                ``careless`` is the older path in a form that leaves the lease's columns as they are.
            fenced: complete only what is still its own, as `docs/worker-contract.md` recommends. The
                contract itself knows no such fence.
            failing_share: of the videos that it encodes, how many fail.
            seed: decides which.
            tell: hears of every step, after it is done: a record with ``at`` (seconds since the epoch),
                ``began``, ``worker``, ``event`` and, where there is one, ``video``.

        Raises:
            ValueError: the name is empty, too long, or looks like a handoff's.
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
        self._tell = tell
        self._connection: Connection | None = None
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )
        self._stopping = False

    def receive(self, *, wait_s: int = 0) -> Job | None:
        """Take one message, if there is one within ``wait_s`` seconds, and delete it at once.

        From here on the video depends on this worker: if it dies before it has claimed, nobody has a message.
        """
        began = time.time()
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=wait_s
        )
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            job = Job(body["video_id"], body["tenant_id"], body.get("attempt", 1), message["ReceiptHandle"])
            self._note("received", job, began, attempt=job.attempt, message=message["MessageId"])
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=job.receipt)
            self._note("deleted", job, began)
            return job
        return None

    def claim(self, job: Job) -> object:
        """Make the video this worker's own, if it is UPLOADED; return since when it is, or None.

        A claim whose answer was lost is recognized by the name in the lease.
        """
        began = time.time()
        parameters = {"video": job.video_id, "me": self.name, "lease_s": self._pace.lease_real_s}
        statement = _CLAIM.format(lease=_SET_BY_CLAIM[self._path])
        since = self._insist(lambda: self._one(statement, parameters) or self._one(_MINE, parameters))
        self._note("claimed" if since else "refused", job, began, path=self._path)
        return since

    def beat(self, job: Job) -> bool:
        """Say that the video is being worked on; return whether Redis heard it."""
        began = time.time()
        heard = False
        if not self.cut_off:
            with suppress(redis.RedisError, OSError):
                heard = bool(self._redis.set(job.heartbeat_key, "1", px=self._pace.beat_ttl_real_ms))
        self._note("beat" if heard else "unheard", job, began)
        return heard

    def complete(self, job: Job, since: object, *, error: str | None = None) -> bool:
        """Put down READY, or FAILED with ``error``, and clear the lease; return whether a row took it.

        Without a fence this writes over whatever the video has become meanwhile: so the contract has it.
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
        written = bool(self._insist(lambda: self._run(statement, parameters)))
        self._note("failed" if error else "completed", job, began, written=written)
        return written

    def work(self, job: Job) -> bool:
        """Do all that one message asks for; return whether the video was this worker's to encode."""
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
        """Work until `stop`, or until ``max_jobs`` messages were taken; an SQS that fails is asked again."""
        jobs = 0
        while not self._stopping and (max_jobs is None or jobs < max_jobs):
            try:
                job = self.receive(wait_s=poll_s)
            except (BotoCoreError, ClientError) as exc:
                self._note("deaf", None, time.time(), cause=str(exc))
                time.sleep(self._pace.time_scale)
                continue
            if job is not None:
                jobs += 1
                self.work(job)

    def stop(self) -> None:
        """Let the video at hand be the last."""
        self._stopping = True

    def close(self) -> None:
        """Give up the connections."""
        self._redis.close()
        self._drop()

    def _insist(self, attempt: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the attempt gives
        while True:
            try:
                return attempt()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self._drop()
                if self._stopping:
                    raise
                time.sleep(self._pace.time_scale)
            except psycopg2.InternalError:  # read-only for a while: a failover
                self._drop()
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

    def _note(self, event: str, job: Job | None, began: float, **details: object) -> None:
        video = {"video": job.video_id} if job else {}
        self._tell(
            {"at": time.time(), "began": began, "worker": self.name, "event": event, **video, **details}
        )


class WorkerProcess(Child):
    """A worker in a process of its own."""

    def __init__(self, name: str, *arguments: str, log: Path) -> None:
        """Start ``python -m dev.local.worker --name NAME`` with more arguments; its record goes to ``log``.

        Raises:
            ChildFailed: it can't be started.
        """
        command = [sys.executable, "-m", "dev.local.worker", "--name", name, *arguments]
        super().__init__(name, command, log=log, env=dict(os.environ), cwd=ROOT)

    def kill(self) -> None:
        """End it in the midst of whatever it does."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Stop its time: it neither beats nor finishes."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`: it goes on as if nothing had happened, even where its video was reclaimed."""
        self.send(signal.SIGCONT)

    def cut_off(self) -> None:
        """Part it from Redis."""
        self.send(signal.SIGUSR1)

    def reconnect(self) -> None:
        """Undo `cut_off`."""
        self.send(signal.SIGUSR2)


def _print(event: dict[str, Any]) -> None:
    os.write(1, (json.dumps(event, default=str) + "\n").encode())  # whole lines, also from a killed process


def main() -> int:
    """Run one worker until SIGTERM or SIGINT, which let it finish its video."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.local.worker", description="A worker of the local academy."
    )
    parser.add_argument("--name", default=f"worker-{os.getpid()}")
    parser.add_argument("--dsn", help="default: the running stack's; so for the next four")
    parser.add_argument("--redis-url")
    parser.add_argument("--queue-url")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--region")
    parser.add_argument("--encode-s", type=float, default=60, help="how long a video takes (60)")
    parser.add_argument("--lease-s", type=float, default=14_400, help="how long a claim is good for (14,400)")
    parser.add_argument("--time-scale", type=float, default=1.0, help="real seconds per second (1)")
    parser.add_argument("--slowness", type=float, default=1.0, help="beat and encode so much slower (1)")
    parser.add_argument("--path", choices=("leased", "unleased", "careless"), default="leased")
    parser.add_argument("--fenced", action="store_true", help="complete only what is still its own")
    parser.add_argument("--failing-share", type=float, default=0.0, help="of the videos, how many fail (0)")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--poll-s", type=int, default=1, help="how long one look into the queue takes (1)")
    parser.add_argument("--max-jobs", type=int)
    given = parser.parse_args()

    from dev.local.stack import Clients, NoStack, Stack

    places: dict[str, Any] = {
        "dsn": given.dsn,
        "redis_url": given.redis_url,
        "queue_url": given.queue_url,
        "endpoint_url": given.endpoint_url,
        "region": given.region,
    }
    if not all(places.values()):
        try:
            stack = Stack.load()
        except NoStack as exc:
            print(exc, file=sys.stderr)
            return 1
        known = {**vars(stack), "dsn": stack.postgres_dsn}
        places = {name: value or known[name] for name, value in places.items()}
    worker = Worker(
        given.name,
        sqs=Clients(places["endpoint_url"], places["region"]).sqs,
        queue_url=places["queue_url"],
        dsn=places["dsn"],
        redis_url=places["redis_url"],
        pace=Pace(
            time_scale=given.time_scale,
            lease_s=given.lease_s,
            encode_s=given.encode_s,
            slowness=given.slowness,
        ),
        path=given.path,
        fenced=given.fenced,
        failing_share=given.failing_share,
        seed=given.seed,
        tell=_print,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "cut_off", True))
    signal.signal(signal.SIGUSR2, lambda *_: setattr(worker, "cut_off", False))
    worker.run(poll_s=given.poll_s, max_jobs=given.max_jobs)
    worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
