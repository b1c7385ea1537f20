"""Fixtures for tests of the protocol: functions in sandboxes, workers, a queue, and time that passes at once."""

import json
from contextlib import ExitStack, closing
from itertools import count

import pytest

from dev.chaos import deliveries, history, product, verdicts
from dev.chaos.case import Case
from dev.chaos.environment import Lambdas, Timing
from dev.chaos.execution import Execution
from dev.chaos.queue import PLATFORM
from dev.chaos.timeline import Timeline
from dev.local.worker import Pace, Worker


class ProtocolStage:
    """Everything a test needs."""

    def __init__(self, academy, environment, dsn, redis_url):
        self.academy, self.environment = academy, environment
        self.queue, self.record, self.timeline = environment.queue, environment.record, environment.timeline
        self._dsn, self._redis_url = dsn, redis_url
        self.lambdas = Lambdas(environment, product.HANDLERS)
        self._workers, self._names = [], count(1)

    def close(self):
        self.timeline.end()
        self.lambdas.forget()
        for worker in self._workers:
            worker.close()

    def execute(self, name=None, **given):
        """Run an execution to its end, its wait for a second look included, and return it."""
        self.pass_time(0.001)  # what was done before it began was done earlier
        execution = Execution(self.lambdas, name or f"execution-{next(self._names)}", given=given)
        self.timeline.join([self.timeline.start(execution.arn, execution.run)])
        return execution

    def look(self, times=1, *, every_s=60, **given):
        """Run executions, one in each minute; return the last."""
        for _ in range(times):
            ends = self.timeline.now() + every_s
            execution = self.execute(**given)
            self.pass_time(max(0.0, ends - self.timeline.now()))
        return execution

    def pass_time(self, seconds):
        """Let so much time pass, in which whatever goes on beside the test goes on."""
        self.timeline.sleep(seconds)

    def worker(self, name, **settings):
        worker = settings.pop("kind", Worker)(
            name,
            sqs=self.queue,
            queue_url=self.queue.url,
            dsn=settings.pop("dsn", self._dsn),
            redis_url=self._redis_url,
            pace=settings.pop("pace", Pace(encode_s=0)),
            tell=settings.pop("tell", self.record.tell),
            now=self.timeline.now,
            sleep=self.timeline.sleep,
            **settings,
        )
        self._workers.append(worker)
        return worker

    def encode(self, video, *, name=None, hours=2, **settings):
        """Have a worker take the video's message and encode beside the test; return the party, to be killed."""
        worker = self.worker(
            name or f"worker-{next(self._names)}", pace=Pace(encode_s=hours * 3600), **settings
        )
        job = worker.receive()
        assert job.video_id == video
        party = self.timeline.start(worker.name, lambda: worker.work(job))
        self.pass_time(1)
        return party

    def upload(self, **given):
        """Add a video that waits for a worker, with its message; return its id."""
        video = self.academy.add("UPLOADED", **given)
        self.send(video)
        return video

    def send(self, video, *, sender=PLATFORM, **given):
        """Send a message as the platform does after an upload."""
        ((file_key,),) = self.academy.sql("SELECT file_key FROM video_video WHERE id = %s", (video,))
        body = {"video_id": video, "file_key": file_key, "tenant_id": 1, "tenant_code": "north", "attempt": 1}
        self.queue.put(json.dumps(body), sender=sender, **given)

    def retry(self, video, *, key=True):
        """Retry a video as a user does; without ``key`` the platform could not reach Redis."""
        if key:
            self.academy.redis.set(f"tenant:1:video:{video}:cancel_requested", "1", ex=300)
        self.academy.sql("UPDATE video_video SET status = 'UPLOADED' WHERE id = %s", (video,))
        self.send(video)

    def die(self, video):
        """Have a worker claim the video with its message and die, so that its lease runs out."""
        worker = self.worker(f"victim-{next(self._names)}")
        while job := worker.receive():
            worker.claim(job)
        self.expire(video)

    def expire(self, video):
        """Let the lease of a video's claim run out at once."""
        self.academy.sql(
            "UPDATE video_video SET leased_until = now() - interval '1 s' WHERE id = %s AND status = 'PROCESSING'",
            (video,),
        )

    def finish(self, name="finisher"):
        """Have a worker work off what can be received; return the ids that it completed."""
        worker, done = self.worker(name), []
        while job := worker.receive():
            if worker.work(job):
                done.append(job.video_id)
        return done

    def inject_once(self, call, when, action, *, step=None):
        """Run ``action`` when ``call`` is next reached; return a list that gets the invocation's id then."""
        hit = []

        def inject(invocation, reached, at):
            if hit or (reached, at) != (call, when) or step not in (None, invocation.step):
                return None
            hit.append(invocation.id)
            invocation.note_fault(f"{call} {when}")
            return action(invocation)

        self.environment.inject = inject
        return hit

    def calm(self):
        self.environment.inject = lambda *_: None

    def messages(self):
        return sorted(body["video_id"] for body in self.queue.bodies())

    def violated(self, *rules, at_rest=False):
        """Return the names of the broken rules: of these, or of all that must hold now."""
        told = history.gather(self._dsn, self.record)
        case = Case(told, self.environment.timing, waiting=frozenset(self.messages()))
        chosen = rules or [r for r in verdicts.RULES if at_rest or r is not deliveries.nothing_lost]
        return sorted({violation.rule for violation in verdicts.violations(case, chosen)})


@pytest.fixture
def timing():
    return Timing()


@pytest.fixture
def timeline(academy, postgres, valkey):
    """Time that passes at once, for PostgreSQL and Redis too."""
    timeline = Timeline(postgres.dsn, valkey.url)
    timeline.install()
    academy.disconnect()
    yield timeline
    timeline.remove()
    academy.disconnect()


@pytest.fixture
def stage(academy, postgres, valkey, timing, timeline):
    with ExitStack() as undo:
        history.install(postgres.dsn)
        undo.callback(academy.sql, "DROP TABLE history_of_videos; DROP FUNCTION note_video CASCADE")
        academy.redis.set(product.HEARD_KEY, "1", ex=30 * 86_400)
        environment = undo.enter_context(product.boundary(timeline, postgres, valkey, timing))
        yield undo.enter_context(closing(ProtocolStage(academy, environment, postgres.dsn, valkey.url)))
