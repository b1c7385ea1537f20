"""A soak: workers, executions and users on real servers, with faults until enough have occurred.

Time is scaled: a minute lasts a second or less in the workers, the settings and the retries alike, so that
the ratios on which the protocol rests are those of a deployment. At the end no more faults are injected, all
that can be finished is finished, and the rules in `verdicts` are checked against the recorded history.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from dev.chaos import deliveries, duplicates, history, races, verdicts
from dev.chaos.boundary import boundary
from dev.chaos.case import Case, Violation
from dev.chaos.environment import FaultyEnvironment, Timing
from dev.chaos.execution import Execution
from dev.chaos.fleet import Addresses, Fleet, WorkerSettings
from dev.chaos.injection import Injector
from dev.chaos.plan import Outcome, Plan, Tally
from dev.chaos.platform import Platform
from dev.chaos.queue import Queue
from dev.chaos.sandbox import Lambdas
from dev.chaos.short_lived import ShortLivedWorkers
from dev.chaos.storm import Storm, random_settings
from dev.local.files import scratch_folder
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.relay import Relay
from dev.local.valkey import Valkey
from dev.local.worker import Pace


class Soak:
    """One soak, from empty servers to the verdicts."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._record = history.Record()
        self._tally = Tally(self._record)
        self._postgres = Postgres(folder / "postgres")
        self._valkey = Valkey(folder / "valkey")
        self._timing = Timing.scaled(plan.minute_s, max_reclaims=plan.max_reclaims)
        self._pace = Pace(time_scale=plan.minute_s / 60, encode_s=30)
        self._journal = folder / "workers.jsonl"
        self._lock = threading.Lock()
        self._failed: list[Execution] = []
        self._crash = ""
        self._random = random.Random(plan.seed + 5)

    def run(self) -> Outcome:
        """Start everything, inject the faults, come to rest and return the outcome."""
        began, plan = time.monotonic(), self._plan
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._postgres)
            undo.enter_context(self._valkey)
            create_schema(self._postgres.dsn)
            history.install(self._postgres.dsn)
            postgres_relay = undo.enter_context(Relay(self._postgres.port))
            redis_relay = undo.enter_context(Relay(self._valkey.port))
            queue = undo.enter_context(Queue(visibility_s=5 * plan.minute_s, tell=self._record.note))
            self._platform = undo.enter_context(
                closing(Platform(self._postgres.dsn, self._valkey.url, queue, plan, self._tally))
            )
            self._environment = FaultyEnvironment(
                postgres_relay,
                redis_relay,
                queue,
                self._timing,
                self._record,
                Injector(plan, self._tally, self._platform),
                random.Random(plan.seed + 1),
            )
            self._platform.fill()
            addresses = Addresses(
                self._postgres.dsn, self._valkey.url, queue.endpoint_url, queue.url, self._journal
            )
            self._fleet = Fleet(addresses, self._pace, size=plan.workers, usual=self._usual_settings)
            self._environment.instances = self._fleet.instances
            undo.callback(self._fleet.stop)
            undo.enter_context(boundary(self._environment))
            lambdas = Lambdas(self._environment)
            undo.callback(lambdas.close)
            self._fleet.start()
            self._inject_faults(lambdas, addresses)
            rested = self._rest(lambdas)
            self._fleet.stop()
            queue.stop()
            outcome = self._judge(rested)
        outcome.seconds = time.monotonic() - began
        return outcome

    def _usual_settings(self) -> WorkerSettings:
        real = self._plan.real_platform
        return random_settings(self._random, real) if real.ways else WorkerSettings()

    def _inject_faults(self, lambdas: Lambdas, addresses: Addresses) -> None:
        storm = Storm(
            self._plan,
            self._tally,
            self._environment,
            self._postgres,
            self._valkey,
            self._fleet,
            self._platform,
        )
        short_lived = ShortLivedWorkers(self._plan, self._tally, addresses, self._pace, self._fleet)
        others = [
            threading.Thread(target=self._guarded, args=(work,), name=name)
            for name, work in (("storm", storm.run), ("short-lived workers", short_lived.run))
        ]
        give_up = time.monotonic() + self._plan.limit_s
        for thread in others:
            thread.start()
        shown = 0
        with ThreadPoolExecutor(self._plan.lanes, thread_name_prefix="execution") as lanes:
            for lane in range(self._plan.lanes):
                lanes.submit(self._guarded, self._execute, lambdas, lane)
            while not self._tally.calm.is_set():
                time.sleep(0.05)
                faults = self._tally.faults.total()
                if faults >= self._plan.faults or time.monotonic() > give_up:
                    self._tally.calm.set()
                elif faults >= shown + 1000:
                    shown = faults - faults % 1000
                    self._say(f"{shown:6d} faults, {self._tally.counts['executions']} executions")
        for thread in others:
            thread.join()

    def _guarded(self, work: Callable[..., None], *given: object) -> None:
        try:
            work(*given)
        except BaseException as exc:
            self._crash = repr(exc)
            self._tally.calm.set()
            raise

    def _execute(self, lambdas: Lambdas, lane: int) -> None:
        """Run one execution after the other, and now and then redrive one that has failed."""
        rng = random.Random(self._plan.seed * 1000 + lane)
        numbers = iter(range(1 << 60))
        while not self._tally.calm.is_set():
            failed = self._take_failed(rng) if rng.random() < 0.25 else None
            if failed is not None:
                self._tally.fault("a failed execution is redriven")
                execution = failed
                execution.redrive()
            else:
                name = f"soak-{self._plan.seed}-{lane}-{next(numbers)}"
                execution = Execution(lambdas, name, given=self._input(rng), seed=rng.getrandbits(30))
                if rng.random() < 0.1:
                    self._tally.note("an execution is stopped")
                    threading.Timer(rng.uniform(0, self._plan.minute_s / 4), execution.abort).start()
                execution.run()
                self._tally.add("executions")
            if execution.redrivable:
                with self._lock:
                    self._failed.append(execution)
            time.sleep(rng.uniform(0, self._plan.minute_s / 4))

    def _input(self, rng: random.Random) -> dict[str, object]:
        """Return the input of the next execution: now and then an operator releases what is quarantined."""
        if rng.random() >= 0.1:
            return {}
        ids = self._platform.quarantined()
        return {"release": rng.sample(ids, min(20, len(ids)))}

    def _take_failed(self, rng: random.Random) -> Execution | None:
        with self._lock:
            return self._failed.pop(rng.randrange(len(self._failed))) if self._failed else None

    def _rest(self, lambdas: Lambdas) -> bool:
        """Let everything be finished without faults; return whether it was."""
        self._say(f"{self._tally.faults.total():6d} faults; letting everything come to rest")
        self._fleet.start()
        numbers = iter(range(1 << 60))
        give_up = time.monotonic() + 60 + 300 * self._plan.minute_s
        while time.monotonic() < give_up:
            if self._failed:
                self._failed.pop().redrive()
                self._tally.add("redrives at rest")
                continue
            Execution(lambdas, f"rest-{self._plan.seed}-{next(numbers)}").run()
            self._tally.add("executions at rest")
            if not self._platform.unfinished():
                return True
            time.sleep(self._plan.minute_s / 2)
        return False

    def _waiting(self) -> frozenset[int]:
        return frozenset(body["video_id"] for body in self._environment.queue.bodies())

    def _judge(self, rested: bool) -> Outcome:
        told = history.gather(self._postgres.dsn, self._record, self._journal)
        case = Case(
            told,
            self._timing,
            beat_ttl_s=self._pace.beat_ttl_real_ms / 1000,
            waiting=self._waiting(),
        )
        found = verdicts.violations(case)
        if not rested:
            found.append(Violation("comes_to_rest", 0, time.time(), "there was work left"))
        if self._tally.faults.total() < self._plan.faults and not self._crash:
            self._crash = "the time was over before all faults had occurred"
        if self._crash:
            found.append(Violation("runs", 0, time.time(), self._crash))
        story = races.story(case, found[0]) if found and found[0].video else []
        counts = self._tally.counts
        counts.update(verdicts.steps(case))
        counts["messages"] = sum(event.kind == "accepted" for event in told.events)
        counts.update(f"workers: {event['event']}" for event in told.workers)
        return Outcome(
            self._tally.faults,
            races.races(case),
            found,
            counts,
            lost=deliveries.lost(case),
            duplicates=duplicates.duplicates(case),
            story=story,
        )


def soak(plan: Plan, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Run one soak on servers of its own; these, their folder and all workers end with it, or with this process."""
    with scratch_folder() as folder:
        return Soak(plan, folder, say).run()
