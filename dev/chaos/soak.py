"""Everything at once: dying workers, overlapping executions, and faults without end until enough have struck.

Time is scaled: a minute of the contract's lasts a second or less, in the workers, the settings and the
retries alike, so that every ratio that the protocol rests on stays as deployed. Then all faults cease, what
can still be done is done, and the history is judged.
"""

import contextlib
import json
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import psycopg2
import redis
from botocore.exceptions import BotoCoreError, ClientError

from dev.chaos import history, verdicts
from dev.chaos.execution import Execution
from dev.chaos.fleet import Fleet, Manner, Places
from dev.chaos.queue import Queue, SendFault
from dev.chaos.relay import Cut, Relay
from dev.chaos.sandbox import Invocation, Lambdas, Timing, When, World, boundary
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey
from dev.local.worker import Pace, Worker

_LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"
_RAISE = "DO $$ BEGIN RAISE EXCEPTION '{}' USING ERRCODE = '{}'; END $$"
_SEND_FAULTS: tuple[SendFault, ...] = get_args(SendFault)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a soak goes.

    Attributes:
        faults: it ends once this many have struck.
        videos: how many there are at any time.
        workers: how many work at any time.
        seed: decides what strikes where, as far as threads and processes allow.
        minute_s: how long a minute lasts, seconds.
        strike_share: of the times the product touches a service, how many are struck.
        lanes: executions at a time.
        max_reclaims: MAX_RECLAIMS; low, since Redis loses the counts every few seconds.
        limit_s: give up after this long: a violation of its own.
    """

    faults: int
    videos: int
    workers: int
    seed: int
    minute_s: float = 1.0
    strike_share: float = 0.1
    lanes: int = 4
    max_reclaims: int = 2
    limit_s: float = 1200.0


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        faults: how many struck, by kind.
        story: all that is known around the first violation.
        races: how often somebody came between two steps, by which.
        violations: what must never happen, and did.
        excused: videos that the platform itself lost, by how.
        counts: executions, redrives, reclaims, messages, claims and so on.
        seconds: real time.
    """

    faults: Counter[str]
    races: Counter[str]
    violations: list[verdicts.Violation]
    excused: Counter[str]
    counts: Counter[str]
    story: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Soak:
    """One soak, from empty servers to a verdict."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan, self._folder, self._say = plan, folder, say
        self._random = random.Random(plan.seed)
        self._record = history.Record()
        self._faults: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._calm = threading.Event()
        self._counts: Counter[str] = Counter()
        self._postgres = Postgres(folder / "postgres")
        self._valkey = Valkey(folder / "valkey")
        self._timing = Timing.scaled(plan.minute_s, max_reclaims=plan.max_reclaims)
        self._pace = Pace(time_scale=plan.minute_s / 60, encode_s=30)
        self._failed: list[Execution] = []
        self._broken = ""
        self._journal = folder / "workers.jsonl"

    def run(self) -> Outcome:
        """Do it all."""
        began = time.monotonic()
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._postgres)
            undo.enter_context(self._valkey)
            create_schema(self._postgres.dsn)
            history.install(self._postgres.dsn)
            postgres_relay = undo.enter_context(Relay(self._postgres.port))
            redis_relay = undo.enter_context(Relay(self._valkey.port))
            queue = undo.enter_context(Queue(visibility_s=5 * self._plan.minute_s, tell=self._record.note))
            self._world = World(
                postgres_relay,
                redis_relay,
                queue,
                self._timing,
                self._record,
                self._strike,
                random.Random(self._plan.seed + 1),
            )
            self._platform = undo.enter_context(
                closing(_Platform(self._postgres.dsn, queue, self._plan.seed))
            )
            self._platform.fill(self._plan.videos)
            self._fleet = Fleet(
                Places(self._postgres.dsn, self._valkey.url, queue.endpoint_url, queue.url, self._journal),
                self._pace,
                size=self._plan.workers,
            )
            undo.callback(self._fleet.stop)
            undo.enter_context(boundary(self._world))
            lambdas = Lambdas(self._world)
            undo.callback(lambdas.close)
            self._fleet.start()
            self._rage(lambdas)
            rested = self._rest(lambdas)
            self._fleet.stop()
            queue.stop()
            outcome = self._judge(rested)
        outcome.seconds = time.monotonic() - began
        return outcome

    # While it lasts

    def _rage(self, lambdas: Lambdas) -> None:
        weather = threading.Thread(target=self._guarded, args=(self._weather,), name="weather")
        deaths = threading.Thread(target=self._guarded, args=(self._die_young,), name="deaths")
        give_up = time.monotonic() + self._plan.limit_s
        weather.start()
        deaths.start()
        shown = 0
        with ThreadPoolExecutor(self._plan.lanes, thread_name_prefix="execution") as lanes:
            for lane in range(self._plan.lanes):
                lanes.submit(self._guarded, self._execute, lambdas, lane)
            while not self._calm.is_set():
                time.sleep(0.05)
                struck = self._faults.total()
                if struck >= self._plan.faults or time.monotonic() > give_up:
                    self._calm.set()
                elif struck >= shown + 1000:
                    shown = struck - struck % 1000
                    self._say(f"{shown:6d} faults, {self._counts['executions']} executions")
        weather.join()
        deaths.join()

    def _guarded(self, work: Callable[..., None], *given: object) -> None:
        try:
            work(*given)
        except BaseException as exc:
            self._broken = repr(exc)
            self._calm.set()
            raise

    def _execute(self, lambdas: Lambdas, lane: int) -> None:
        rng = random.Random(self._plan.seed * 1000 + lane)
        numbers = iter(range(1 << 60))
        while not self._calm.is_set():
            failed = self._take_failed(rng) if rng.random() < 0.25 else None
            if failed is not None:
                self._struck("a failed execution is redriven")
                execution = failed
                execution.redrive()
            else:
                name = f"soak-{self._plan.seed}-{lane}-{next(numbers)}"
                execution = Execution(lambdas, name, seed=rng.getrandbits(30))
                if rng.random() < 0.1:
                    self._note("an execution is stopped")
                    threading.Timer(rng.uniform(0, self._plan.minute_s / 4), execution.abort).start()
                execution.run()
                self._count("executions")
            if execution.status == "FAILED":
                with self._lock:
                    self._failed.append(execution)
            time.sleep(rng.uniform(0, self._plan.minute_s / 4))

    def _take_failed(self, rng: random.Random) -> Execution | None:
        with self._lock:
            return self._failed.pop(rng.randrange(len(self._failed))) if self._failed else None

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _struck(self, fault: str) -> None:
        with self._lock:
            self._faults[fault] += 1

    def _note(self, fault: str) -> None:
        self._struck(fault)
        self._record.note("fault", fault=fault)

    def _strike(self, invocation: Invocation, call: str, when: When, connection: Any) -> str | None:  # noqa: ANN401
        if self._calm.is_set():
            return None
        with self._lock:
            if self._random.random() >= self._plan.strike_share:
                return None
            kinds = list(_strikes(call, when))
            kind = self._random.choice(kinds) if kinds else None
        if kind is None:
            return None
        return self._carry_out(kind, invocation, call, when, connection)

    def _carry_out(
        self,
        kind: str,
        invocation: Invocation,
        call: str,
        when: When,
        connection: Any,  # noqa: ANN401
    ) -> str | None:
        def strike(fault: str) -> None:
            invocation.struck(fault)
            self._struck(fault)

        if kind == "die":
            strike(f"the function dies {when} {_WORDS[call]}")
            invocation.die()
        elif kind in ("before", "during", "after"):
            cut: Cut = kind  # type: ignore[assignment]
            strike(f"PostgreSQL's connection is cut {cut} {_WORDS[call]}")
            invocation.cut(connection, cut)
        elif kind == "deadlock":
            strike("PostgreSQL finds a deadlock")
            return _RAISE.format("deadlock detected", "40P01")
        elif kind == "canceled":
            strike("PostgreSQL cancels a statement")
            return _RAISE.format("canceling statement due to statement timeout", "57014")
        elif kind == "refused":
            strike("PostgreSQL refuses a statement")
            return _RAISE.format("permission denied for table video_video", "42501")
        elif kind == "terminated":
            strike("PostgreSQL ends a session")
            self._platform.terminate(connection.info.backend_pid)
        elif kind.startswith("redis "):
            strike(f"Redis's connection is cut {kind.removeprefix('redis ')} {_WORDS[call]}")
            self._world.redis_relay.cut_next(kind.removeprefix("redis "))  # type: ignore[arg-type]
        elif kind.startswith("sqs "):
            fault: SendFault = kind.removeprefix("sqs ")  # type: ignore[assignment]
            strike(f"SQS {fault}" if " " in fault or fault.endswith("s") else f"SQS: {fault}")
            self._world.queue.faults[invocation.id] = fault
        elif kind == "overtaken":
            strike(f"the function is taken for dead {when} {_WORDS[call]}, and goes on")
            invocation.be_overtaken(self._timing.function_s * 0.2)
        elif kind == "lost":
            strike("the function's answer is lost")
            invocation.be_overtaken(0)
        elif kind == "pause":
            strike(f"the function stalls {when} {_WORDS[call]}")
            time.sleep(self._timing.function_s * 0.05)
        elif kind == "platform":
            for video in self._some(invocation.event.get("videos", [])):
                strike(self._platform.meddle(video))
        return None

    def _some(self, videos: Sequence[int]) -> list[int]:
        with self._lock:
            return [self._random.choice(videos)] if videos else []

    def _weather(self) -> None:
        rng = random.Random(self._plan.seed + 2)
        minute_s = self._plan.minute_s
        paused: list[tuple[float, Callable[[], None]]] = []
        while not self._calm.is_set():
            now = time.monotonic()
            for due in [due for due in paused if due[0] <= now]:
                paused.remove(due)
                due[1]()
            self._storm(rng, paused)
            self._platform.upload(self._plan.videos)
            time.sleep(rng.uniform(0, minute_s / 10))
        for _, undo in paused:
            undo()

    def _die_young(self) -> None:
        """Have workers die at chosen steps, which a signal from outside only hits by chance."""
        from dev.local.stack import Clients

        rng = random.Random(self._plan.seed + 4)
        sqs = Clients(self._world.queue.endpoint_url).sqs
        with self._journal.open("a", buffering=1) as journal:

            def tell(event: dict[str, Any]) -> None:
                journal.write(json.dumps(event, default=str) + "\n")

            for number in range(1 << 60):
                if self._calm.is_set():
                    return
                manner = _manner(rng)
                worker = Worker(
                    f"short-lived-{number}",
                    sqs=sqs,
                    queue_url=self._world.queue.url,
                    dsn=self._postgres.dsn,
                    redis_url=self._valkey.url,
                    pace=replace(self._pace, lease_s=manner.lease_s),
                    path=manner.path,
                    tell=tell,
                )
                with closing(worker), contextlib.suppress(BotoCoreError, ClientError):
                    self._note(self._die_at(rng, worker))
                time.sleep(rng.uniform(0, 0.04))

    def _die_at(self, rng: random.Random, worker: Worker) -> str:
        job = worker.receive()
        if job is None:
            return "a worker dies idle"
        if rng.random() < 0.02:
            self._fleet.killed.add(worker.name)
            return "a worker dies between deleting a message and claiming its video"
        since = worker.claim(job)
        if since is None:
            return "a worker dies idle"
        if rng.random() < 0.5:
            return "a worker dies after its claim"
        worker.beat(job)
        if rng.random() < 0.8:
            return "a worker dies after its first beat"
        worker.complete(job, since)
        return "a worker dies after completing"

    def _storm(self, rng: random.Random, later: list[tuple[float, Callable[[], None]]]) -> None:
        minute_s, now = self._plan.minute_s, time.monotonic()
        names = self._fleet.names()
        name = rng.choice(names)
        dice = rng.random()
        if dice < 0.50:
            self._note("a worker is killed")
            self._fleet.kill(name)
            self._fleet.start(_manner(rng))
        elif dice < 0.58:
            self._note("several workers are killed at once")
            for each in rng.sample(names, k=min(5, len(names))):
                self._fleet.kill(each)
            self._fleet.start(_manner(rng))
        elif dice < 0.62:
            self._note("a worker is paused")
            self._fleet.signal(name, signal.SIGSTOP)
            awake = now + rng.uniform(0.2, 4) * minute_s
            later.append((awake, lambda: self._fleet.signal(name, signal.SIGCONT)))
        elif dice < 0.68:
            self._note("a worker is cut off from Redis")
            self._fleet.signal(name, signal.SIGUSR1)
            later.append((now + 2 * minute_s, lambda: self._fleet.signal(name, signal.SIGUSR2)))
        elif dice < 0.71:
            self._note("Redis is flushed")
            with closing(redis.Redis.from_url(self._valkey.url)) as client:
                client.flushall()
        elif dice < 0.74:
            self._note("Redis restarts empty")
            self._valkey.kill()
            self._valkey.start()
        elif dice < 0.77:
            self._note("Redis is loading")
            self._for_a_while("answer", _LOADING, b"", later, rng)
        elif dice < 0.79:
            self._note("Redis is slow")
            self._for_a_while("delay_s", self._timing.redis_patience_s * 1.5, 0.0, later, rng)
        elif dice < 0.81:
            self._note("Redis is unreachable")
            self._for_a_while("refusing", True, False, later, rng)
            self._world.redis_relay.cut_all()
        elif dice < 0.83:
            self._note("PostgreSQL is read-only")
            self._platform.read_only(True)
            later.append((now + rng.uniform(0.1, 0.5) * minute_s, lambda: self._platform.read_only(False)))
        elif dice < 0.84:
            self._note("PostgreSQL restarts")
            with self._platform.away():
                self._postgres.restart()
        elif dice < 0.86:
            self._note("PostgreSQL is unreachable")
            relay = self._world.postgres_relay
            relay.refusing = True
            relay.cut_all()
            later.append((now + 0.3 * minute_s, lambda: setattr(relay, "refusing", False)))
        elif dice < 0.88:
            self._note("SQS is away")
            self._world.queue.away = True
            later.append((now + 0.3 * minute_s, lambda: setattr(self._world.queue, "away", False)))
        else:
            self._note(self._platform.meddle(rng.randint(1, self._plan.videos)))

    def _for_a_while(
        self,
        name: str,
        value: object,
        usual: object,
        later: list[tuple[float, Callable[[], None]]],
        rng: random.Random,
    ) -> None:
        relay = self._world.redis_relay
        setattr(relay, name, value)
        until = time.monotonic() + rng.uniform(0.1, 0.6) * self._plan.minute_s
        later.append((until, lambda: setattr(relay, name, usual)))

    # And then

    def _rest(self, lambdas: Lambdas) -> bool:
        """Let everything be finished without faults; say whether it was."""
        self._say(f"{self._faults.total():6d} faults; letting everything come to rest")
        self._fleet.start()
        numbers = iter(range(1 << 60))
        give_up = time.monotonic() + 60 + 200 * self._plan.minute_s
        while time.monotonic() < give_up:
            if self._failed:
                self._failed.pop().redrive()
                self._count("redrives at rest")
                continue
            Execution(lambdas, f"rest-{self._plan.seed}-{next(numbers)}").run()
            self._count("executions at rest")
            left = self._platform.unfinished()
            waiting = {body["video_id"] for body in self._world.queue.bodies()}
            if all(row[1] == "UPLOADED" and not row[2] and row[0] not in waiting for row in left):
                self._counts["left for the platform"] = len(left)
                return True
            time.sleep(self._plan.minute_s / 2)
        return False

    def _judge(self, rested: bool) -> Outcome:
        waiting = frozenset(body["video_id"] for body in self._world.queue.bodies())
        told = history.gather(self._postgres.dsn, self._record, self._journal)
        case = verdicts.Case(
            told,
            self._timing,
            beat_ttl_s=self._pace.beat_ttl_real_ms / 1000,
            killed=frozenset(self._fleet.killed),
            waiting=waiting,
        )
        found = verdicts.violations(case)
        if not rested:
            found.append(verdicts.Violation("comes_to_rest", 0, time.time(), "there was work left"))
        if self._broken:
            found.append(verdicts.Violation("runs", 0, time.time(), self._broken))
        story = verdicts.story(case, found[0]) if found and found[0].video else []
        for write in told.writes:
            if write.who == history.PRODUCT and write.before and write.after:
                self._counts[_kind_of(write)] += 1
        self._counts["messages"] = sum(event.kind == "accepted" for event in told.events)
        self._counts.update(f"workers: {event['event']}" for event in told.workers)
        excused = Counter(
            "a worker was killed between deleting the message and claiming the video"
            for video in case.writes
            if verdicts.dropped_by_worker(case, video) and video not in waiting
        )
        return Outcome(self._faults, verdicts.races(case), found, excused, self._counts, story)


_WORDS = {
    "connect": "connecting",
    "settle in": "settling in",
    "list": "listing",
    "look": "looking",
    "take": "the reclaim's commit",
    "quarantine": "the quarantine's commit",
    "read handoffs": "reading the handoffs",
    "clear handoffs": "the handoffs' clearing",
    "read heartbeats": "reading heartbeats",
    "read heartbeats and reclaims": "counting the reclaims",
    "take back counts": "taking back counts",
    "record strikes": "recording strikes",
    "forget reclaims": "forgetting reclaims",
    "send": "a send",
    "answer": "its answer",
    "statement": "a statement",
}
_POSTGRES = ("list", "look", "take", "quarantine", "read handoffs", "clear handoffs")
_REDIS = ("read heartbeats", "read heartbeats and reclaims", "record strikes", "take back counts")


def _strikes(call: str, when: When) -> Iterator[str]:
    """What can strike at one point of the boundary; what is named twice strikes twice as often."""
    yield "die"
    if call == "answer":
        yield "lost"
        return
    yield "pause"
    if call in ("take", "send", "clear handoffs") and when == "before":
        yield "overtaken"
    if call in ("look", "take", "read handoffs", "send", "clear handoffs"):
        yield "platform"
    if call in _POSTGRES and when == "before":
        yield from ("before", "during", "after", "deadlock", "canceled", "terminated")
        if call in ("take", "read handoffs"):
            yield "refused"
    if call in _REDIS and when == "before":
        yield from ("redis before", "redis during", "redis after")
    if call == "send" and when == "before":
        yield from (f"sqs {fault}" for fault in _SEND_FAULTS)


def _manner(rng: random.Random) -> Manner:
    return Manner(
        path=rng.choices(("leased", "unleased", "careless"), (6, 2, 1))[0],
        fenced=rng.random() < 0.3,
        slowness=rng.choices((1.0, 2.0, 4.0), (8, 1, 1))[0],
        lease_s=rng.choices((14_400, 300), (4, 1))[0],
    )


def _kind_of(write: history.Write) -> str:
    before, after = write.before, write.after
    if before is None or after is None:
        return "others"
    if after.handoff_token:
        if before.status == "PROCESSING":
            return "reclaims"
        return "renewals" if before.handoff_token == after.handoff_token else "adoptions"
    return "quarantined" if after.status == "FAILED" else "handoffs cleared"


class _Platform:
    """The academy: it uploads, deletes and retries videos as its users please."""

    def __init__(self, dsn: str, queue: Queue, seed: int) -> None:
        self._dsn, self._queue = dsn, queue
        self._lock = threading.Lock()
        self._random = random.Random(seed + 3)
        self._connection: Any = None

    def close(self) -> None:
        """Give up the connection."""
        with self._lock:
            self._drop()

    def fill(self, videos: int) -> None:
        """Make three tenants and so many videos, each with its message."""
        self._sql("INSERT INTO core_tenant (id, code) VALUES (1, 'north'), (2, 'south'), (3, 'west')")
        self._sql("INSERT INTO lectures_lecture (id, tenant_id) VALUES (1, 1), (2, 2), (3, 3)")
        self._sql("INSERT INTO lectures_session (id, lecture_id) VALUES (1, 1), (2, 2), (3, 3)")
        for video in range(1, videos + 1):
            self._insert(video)

    def upload(self, videos: int) -> None:
        """Let every tenth of a video's users come back with a new upload once theirs is done."""
        done = self._sql(
            "UPDATE video_video SET status = 'PENDING', error_reason = NULL, updated_at = now()"
            " WHERE id = ANY(ARRAY(SELECT id FROM video_video WHERE status IN ('READY', 'FAILED')"
            " ORDER BY random() LIMIT 40)) AND status IN ('READY', 'FAILED') RETURNING id"
        )
        for (video,) in done:
            self._retry(video)
        present = {video for (video,) in self._sql("SELECT id FROM video_video")}
        for video in set(range(1, videos + 1)) - present:
            self._insert(video)
        dropped = self._sql(
            "SELECT id FROM video_video WHERE status = 'UPLOADED' AND leased_by = ''"
            " AND updated_at < now() - interval '3 seconds'"
        )
        waiting = {body["video_id"] for body in self._queue.bodies()}
        for (video,) in dropped:
            if video not in waiting:
                self._retry(video)

    def meddle(self, video: int) -> str:
        """Delete a video, or set it back to UPLOADED by hand; say which."""
        if self._random.random() < 0.3:
            self._sql("DELETE FROM video_video WHERE id = %s RETURNING id", video)
            return "the platform deletes a video"
        if self._random.random() < 0.3:
            self._sql(
                "UPDATE video_video SET status = 'READY', leased_by = '', leased_until = NULL,"
                " updated_at = now()"
                " WHERE id = %s RETURNING id",
                video,
            )
            return "the platform calls a video ready"
        self._retry(video)
        return "the platform retries a video"

    def unfinished(self) -> list[tuple[Any, ...]]:
        """Id, status and holder of every video that is neither READY nor FAILED."""
        return self._sql(
            "SELECT id, status, leased_by FROM video_video WHERE status NOT IN ('READY', 'FAILED', 'PENDING')"
        )

    def terminate(self, backend: int) -> None:
        """End a session of the database."""
        self._sql("SELECT pg_terminate_backend(%s)", backend)

    def read_only(self, on: bool) -> None:
        """Make the database refuse writes, as a former primary does, or accept them again."""
        with self._lock:
            self._run(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}", ())
            self._run("SELECT pg_reload_conf()", ())

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Wait while the database is not there."""
        with self._lock:
            self._drop()
            yield

    def _insert(self, video: int) -> None:
        self._sql(
            "INSERT INTO video_video (id, session_id, file_key, status, leased_by, created_at, updated_at)"
            " VALUES (%s, %s, %s, 'UPLOADED', '', now(), now()) ON CONFLICT DO NOTHING RETURNING id",
            video,
            video % 3 + 1,
            f"tenants/{video % 3 + 1}/lecture-{video}.mp4",
        )
        self._send(video)

    def _retry(self, video: int) -> None:
        written = self._sql(
            "UPDATE video_video SET status = 'UPLOADED', leased_by = '', leased_until = NULL,"
            " error_reason = NULL, updated_at = now() WHERE id = %s RETURNING id",
            video,
        )
        if written:
            self._send(video)

    def _send(self, video: int) -> None:
        tenant = video % 3 + 1
        body = {
            "video_id": video,
            "file_key": f"tenants/{tenant}/lecture-{video}.mp4",
            "tenant_id": tenant,
            "tenant_code": ("north", "south", "west")[tenant - 1],
            "created_at": datetime.now(UTC).isoformat(),
            "attempt": 1,
        }
        self._queue.put(json.dumps(body), sender="platform")

    def _sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        give_up = time.monotonic() + 30
        while True:
            with self._lock:
                try:
                    return self._run(statement, parameters)
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    self._drop()
                    if time.monotonic() > give_up:
                        raise
            time.sleep(0.02)

    def _run(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(
                self._dsn,
                application_name="platform",
                options="-c default_transaction_read_only=off",
            )
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
        self._connection = None


def soak(plan: Plan, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Run one soak on servers of its own, and leave nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="video-reclaim-chaos-"))
    folder.chmod(0o755)
    try:
        return Soak(plan, folder, say).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
