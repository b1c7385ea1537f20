"""Fixtures for tests of the protocol: functions in sandboxes, relays, a queue and a record."""

import random
from contextlib import ExitStack, closing

import pytest

from dev.chaos import deliveries, history, product, resends, silence, verdicts
from dev.chaos.boundary import aws_session, boundary
from dev.chaos.case import Case
from dev.chaos.environment import FaultyEnvironment, Timing
from dev.chaos.execution import Execution
from dev.chaos.queue import Queue
from dev.chaos.sandbox import Lambdas
from dev.local.emulator import REGION
from dev.local.relay import Relay
from dev.local.worker import Pace, Worker

CALM = Timing(retry_scale=0.0, redis_patience_s=0.5)


class Stage:
    """Everything a test needs.

    Leases age only through `let_handoffs_expire`, the rest through `silence`, `wait_long` and `pass_time`.

    Attributes:
        instances: ids of the worker group's instances; None for unknown.
    """

    def __init__(self, academy, environment, dsn, redis_url):
        self.academy, self.environment = academy, environment
        self.queue, self.record = environment.queue, environment.record
        self._dsn, self._redis_url = dsn, redis_url
        self._sqs = aws_session().client("sqs", region_name=REGION, endpoint_url=self.queue.endpoint_url)
        self.lambdas = Lambdas(environment)
        self.told = []
        self.instances = None
        environment.instances = lambda: self.instances
        self._workers = []
        self.beat_ttl_s = 60.0

    def close(self):
        self.lambdas.close()
        for worker in self._workers:
            worker.close()

    def execute(self, name="first", **given):
        """Run an execution to the end and return it."""
        execution = Execution(self.lambdas, name, given=given)
        execution.run()
        return execution

    def worker(self, name, **manner):
        worker = manner.pop("kind", Worker)(
            name,
            sqs=self._sqs,
            queue_url=self.queue.url,
            dsn=self._dsn,
            redis_url=self._redis_url,
            pace=manner.pop("pace", Pace(encode_s=0)),
            tell=manner.pop("tell", self.told.append),
            **manner,
        )
        self._workers.append(worker)
        return worker

    def finish(self, name="finisher"):
        """Have a worker work off the queue; return the ids that it completed."""
        worker, done = self.worker(name), []
        while job := worker.receive():
            if worker.work(job):
                done.append(job.video_id)
        return done

    def let_handoffs_expire(self):
        """Move the terms of all handoffs into the past."""
        self.academy.sql(
            "UPDATE video_video SET leased_until = leased_until - interval '1000 seconds'"
            " WHERE starts_with(leased_by, 'reclaim:')"
        )

    def silence(self, *videos, tenant=1):
        """Give videos a strike under their current lease that is an hour old."""
        for video in videos:
            ((at_s, lease),) = self.academy.sql(
                "SELECT date_part('epoch', now()) - 3600,"
                " ROW(leased_by, leased_until, processing_started_at)::text FROM video_video WHERE id = %s",
                (video,),
            )
            self.academy.redis.set(product.silence_key(tenant, video), f"{at_s:.3f} {lease}")

    def wait_long(self, *videos):
        """Record that videos waited unchanged for an hour, in which listings looked and found the queue empty."""
        for video in videos:
            ((now_s, identity),) = self.academy.sql(
                "SELECT date_part('epoch', now()), ROW(leased_by, leased_until, processing_started_at)::text"
                " || ' ' || left(md5(file_key), 12) FROM video_video WHERE id = %s",
                (video,),
            )
            fields = {
                str(video): f"{now_s - 3600:.3f} {identity}",
                product.QUEUE_EMPTY_FIELD: f"{now_s - 3600:.3f}",
                product.LOOKED_AT_FIELD: f"{now_s:.3f}",
            }
            self.academy.redis.hset(product.WAITING_KEY, mapping=fields)

    def count(self, video, times, *, tenant=1):
        """Count ``times`` reclaims of a video's upload."""
        ((now_s, upload),) = self.academy.sql(
            "SELECT date_part('epoch', now()), left(md5(file_key), 12) FROM video_video WHERE id = %s",
            (video,),
        )
        counted = {f"{upload} earlier-{number}": now_s - number for number in range(times)}
        self.academy.redis.zadd(product.reclaims_key(tenant, video), counted)
        self.academy.redis.zadd(product.COUNTED_KEY, {f"{tenant}:{video}": now_s})

    def pass_time(self, seconds, *, looking=True):
        """Make everything in Redis and in the queue older by ``seconds``; rows stay as they are.

        Listings go on looking at what waits meanwhile, or don't.
        """
        store = self.academy.redis
        for key in store.scan_iter():
            left_ms = store.pttl(key)
            if left_ms > 0:
                store.pexpire(key, max(1, round(left_ms - seconds * 1000)))
            if key.endswith(b":silence"):
                at, _, rest = store.get(key).decode().partition(" ")
                store.set(key, f"{float(at) - seconds:.3f} {rest}", keepttl=True)
        self.age_waits(seconds, looking=looking)
        self.queue.pass_time(seconds)

    def age_waits(self, seconds, *, looking=True):
        """Make the recorded waits older, and the time since when the queue is empty; see `pass_time`."""
        store = self.academy.redis
        for name, value in store.hgetall(product.WAITING_KEY).items():
            if looking and name == product.LOOKED_AT_FIELD:
                continue
            at, space, rest = value.decode().partition(" ")
            store.hset(product.WAITING_KEY, name, f"{float(at) - seconds:.3f}{space}{rest}")

    def inject_once(self, call, when, action):
        """Run ``action`` when ``call`` is next reached; return a list that gets the invocation's id then."""
        hit = []

        def inject(invocation, reached, at, connection):
            if hit or (reached, at) != (call, when):
                return None
            hit.append(invocation.id)
            invocation.note_fault(f"{call} {when}")
            return action(invocation, connection)

        self.environment.inject = inject
        return hit

    def calm(self):
        self.environment.inject = lambda *_: None

    def messages(self):
        return sorted(body["video_id"] for body in self.queue.bodies())

    def case(self, *, waiting=None):
        told = history.gather(self._dsn, self.record)
        return Case(
            history.History(told.writes, told.events, self.told),
            self.environment.timing,
            beat_ttl_s=self.beat_ttl_s,
            waiting=frozenset(self.messages() if waiting is None else waiting),
        )

    def violated(self, *rules):
        """Return the names of the broken rules: of these, or of all that must hold before the run has ended.

        Not of the rules on silence and waits, since no listing recorded what `silence` and `wait_long` made.
        """
        at_rest = (silence.reclaimed_with_cause, resends.resent_with_cause, deliveries.nothing_lost)
        chosen = rules or [rule for rule in verdicts.RULES if rule not in at_rest]
        case = self.case()
        return sorted({v.rule for rule in chosen for v in rule(case)})


@pytest.fixture
def timing():
    return CALM


@pytest.fixture
def stage(academy, postgres, valkey, timing):
    with ExitStack() as undo:
        history.install(postgres.dsn)
        undo.callback(academy.sql, "DROP TABLE history_of_videos; DROP FUNCTION note_video CASCADE")
        record = history.Record()
        environment = FaultyEnvironment(
            undo.enter_context(Relay(postgres.port)),
            undo.enter_context(Relay(valkey.port)),
            undo.enter_context(Queue(tell=record.note)),
            timing,
            record,
            rng=random.Random(1),
        )
        undo.enter_context(boundary(environment))
        yield undo.enter_context(closing(Stage(academy, environment, postgres.dsn, valkey.url)))
