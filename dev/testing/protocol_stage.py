"""A stage for the protocol: functions in sandboxes, relays before the servers, a queue, and a record."""

import random
from contextlib import ExitStack, closing

import pytest

from dev.chaos import history, verdicts
from dev.chaos.execution import Execution
from dev.chaos.queue import Queue
from dev.chaos.relay import Relay
from dev.chaos.sandbox import Lambdas, Timing, World, aws_session, boundary
from dev.local.emulator import REGION
from dev.local.worker import Pace, Worker

CALM = Timing(retry_scale=0.0, redis_patience_s=0.5)


class Stage:
    """What a scene needs. Time does not pass by itself: `let_handoffs_expire` and `silence` make it."""

    def __init__(self, academy, world, dsn, redis_url):
        self.academy, self.world = academy, world
        self.queue, self.record = world.queue, world.record
        self._dsn, self._redis_url = dsn, redis_url
        self._sqs = aws_session().client("sqs", region_name=REGION, endpoint_url=self.queue.endpoint_url)
        self.lambdas = Lambdas(world)
        self.told = []
        self.killed = set()
        self._workers = []
        self.beat_ttl_s = 60.0

    def close(self):
        self.lambdas.close()
        for worker in self._workers:
            worker.close()

    def execute(self, name="first", **given):
        """Run an execution to its end and return it."""
        execution = Execution(self.lambdas, name, given=given)
        execution.run()
        return execution

    def worker(self, name, **manner):
        worker = Worker(
            name,
            sqs=self._sqs,
            queue_url=self.queue.url,
            dsn=self._dsn,
            redis_url=self._redis_url,
            pace=manner.pop("pace", Pace(encode_s=0)),
            tell=self.told.append,
            **manner,
        )
        self._workers.append(worker)
        return worker

    def finish(self, name="finisher"):
        """Have a worker do everything that has a message; return the ids that it completed."""
        worker, done = self.worker(name), []
        while job := worker.receive():
            if worker.work(job):
                done.append(job.video_id)
        return done

    def let_handoffs_expire(self):
        """Let a quarter of an hour pass for the videos between database and queue."""
        self.academy.sql(
            "UPDATE video_video SET leased_until = leased_until - interval '1000 seconds'"
            " WHERE starts_with(leased_by, 'reclaim:')"
        )

    def silence(self, *videos, tenant=1):
        """Give videos a confirmed strike under the lease that they have now: an hour of silence."""
        for video in videos:
            ((at_s, lease),) = self.academy.sql(
                "SELECT date_part('epoch', now()) - 3600,"
                " ROW(leased_by, leased_until, processing_started_at)::text FROM video_video WHERE id = %s",
                (video,),
            )
            self.academy.redis.set(f"tenant:{tenant}:video:{video}:silence", f"{at_s:.3f} {lease}")

    def strike_once(self, call, when, action):
        """Have ``action`` strike the next time that ``call`` is reached; return a list that notes it."""
        struck = []

        def strike(invocation, reached, at, connection):
            if struck or (reached, at) != (call, when):
                return None
            struck.append(invocation.id)
            invocation.struck(f"{call} {when}")
            return action(invocation, connection)

        self.world.strike = strike
        return struck

    def calm(self):
        self.world.strike = lambda *_: None

    def messages(self):
        return sorted(body["video_id"] for body in self.queue.bodies())

    def case(self, *, waiting=None):
        told = history.gather(self._dsn, self.record)
        return verdicts.Case(
            history.History(told.writes, told.events, self.told),
            self.world.timing,
            beat_ttl_s=self.beat_ttl_s,
            killed=frozenset(self.killed),
            waiting=frozenset(self.messages() if waiting is None else waiting),
        )

    def violated(self, *rules):
        """The names of the rules that were broken; of these, or of all that hold at any time.

        Nobody saw the strikes of `silence` being made, for which the rule on strikes would rightly blame us.
        """
        at_rest = (verdicts.reclaimed_with_cause, verdicts.nothing_lost)
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
        world = World(
            undo.enter_context(Relay(postgres.port)),
            undo.enter_context(Relay(valkey.port)),
            undo.enter_context(Queue(tell=record.note)),
            timing,
            record,
            rng=random.Random(1),
        )
        undo.enter_context(boundary(world))
        yield undo.enter_context(closing(Stage(academy, world, postgres.dsn, valkey.url)))
