"""A soak: workers, executions and users on real servers, with faults until enough have occurred.

One party acts at a time, and time passes without waiting (`schedule`), so each wait has its real length. At the
end no more faults are injected, all that can be finished is finished, and the rules in `verdicts` are checked
against the recorded history.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from dev.chaos import deliveries, history, product, verdicts
from dev.chaos.case import Case, Violation, story
from dev.chaos.environment import FaultyEnvironment, Lambdas, Plan, Timing
from dev.chaos.execution import Execution
from dev.chaos.fleet import Fleet
from dev.chaos.injection import Injector
from dev.chaos.platform import LOCK_TIMEOUT, Platform
from dev.chaos.queue import Queue
from dev.chaos.schedule import Party, Schedule
from dev.chaos.storm import Storm
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.relay import Relay
from dev.local.valkey import Valkey
from dev.local.watchdog import scratch_folder
from dev.local.worker import Worker

_LANES, _MINUTE_S, _REST_S, _LIMIT_S = 3, 60, 86_400, 7 * 86_400
_MAX_RECLAIMS = 2
"""Low, since Redis loses the counts every few minutes."""


@dataclass(slots=True)
class Outcome:
    """The result of a soak."""

    faults: Counter[str]  # number of faults, by kind
    counts: Counter[str]  # executions, redrives, reclaims, messages, claims and so on
    duplicates: Counter[str]  # messages for a video that had one already, by cause
    violations: list[Violation]  # the rules that were broken, in the order of time
    story: list[str]  # everything known about the videos of the first violations
    hours: float  # the schedule's time


class Soak:
    """One soak, from empty servers to the verdicts."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._postgres, self._valkey = Postgres(folder / "postgres"), Valkey(folder / "valkey")
        self._schedule = Schedule(self._postgres.dsn, self._valkey.url)
        self._record = history.Record(self._schedule.now)
        self._failed: list[Execution] = []
        self._random = random.Random(plan.seed + 5)
        random.seed(plan.seed)  # errors of dead functions, and boto3's waits

    def run(self) -> Outcome:
        """Start everything, inject the faults, come to rest and return the outcome."""
        plan, dsn, redis_url, began = self._plan, self._postgres.dsn, self._valkey.url, self._schedule.now()
        queue = Queue(now=self._schedule.now, tell=self._record.note)
        with contextlib.ExitStack() as undo:
            undo.enter_context(self._postgres)
            undo.enter_context(self._valkey)
            create_schema(dsn)
            history.install(dsn)
            self._schedule.install()
            self._platform = Platform(dsn, redis_url, queue, self._schedule, plan, self._record)
            undo.callback(self._platform.disconnect)
            self._environment = FaultyEnvironment(
                self._schedule,
                undo.enter_context(Relay(self._postgres.port)),
                undo.enter_context(Relay(self._valkey.port)),
                queue,
                Timing(max_reclaims=_MAX_RECLAIMS, redis_patience_s=0.3),
                self._record,
                Injector(plan, self._platform),
            )
            self._platform.fill()
            make = partial(
                Worker,
                sqs=cast(Any, queue),
                queue_url=queue.url,
                dsn=f"{dsn}?options={LOCK_TIMEOUT.replace(' ', '%20').replace('=', '%3D')}",
                redis_url=redis_url,
            )
            self._fleet = Fleet(self._schedule, plan, self._record, make)
            undo.enter_context(product.boundary(self._environment))
            self._lambdas = Lambdas(self._environment, product.HANDLERS)
            undo.callback(self._lambdas.forget)
            crash = self._act()
            outcome = self._judge(crash, (self._schedule.now() - began) / 3600)
            self._schedule.end()
        return outcome

    def _act(self) -> str:
        """Let everybody act, then come to rest; return what went wrong with the soak itself."""
        around = (self._environment, self._postgres, self._valkey, self._fleet, self._platform)
        storm = Storm(self._plan, *around, self._tell_of_termination)
        self._fleet.start()
        parties = [self._schedule.start("storm", storm.run)]
        parties += [
            self._schedule.start(f"executions {lane}", partial(self._execute_on, lane))
            for lane in range(_LANES)
        ]
        until, shown = self._schedule.now() + _LIMIT_S, 0
        while self._record.faults.total() < self._plan.faults:
            self._schedule.sleep(_MINUTE_S)
            if ended := [party for party in parties if party.ended]:
                return repr(ended[0].error)
            if self._schedule.now() > until:
                return "the time was over before all faults had occurred"
            faults = self._record.faults.total()
            if faults // 1000 > shown:
                shown = faults // 1000
                self._say(f"{1000 * shown:6d} faults, {self._record.counts['executions']} executions")
        self._record.calm = True
        self._say(f"{self._record.faults.total():6d} faults; letting everything come to rest")
        return self._rest(parties)

    def _rest(self, parties: list[Party]) -> str:
        self._schedule.join(parties)
        until = self._schedule.now() + _REST_S
        while self._schedule.now() < until:
            self._fleet.start()
            if self._failed:
                work, counted = self._failed.pop().redrive, "redrives at rest"
            else:
                work, counted = self._execution("rest").run, "executions at rest"
            self._schedule.join([self._schedule.start(counted, work)])
            self._record.counts[counted] += 1
            if not self._failed and not self._platform.unfinished():
                return ""
            self._schedule.sleep(_MINUTE_S)
        return f"there was work left: {self._platform.unfinished()[:5]}"

    def _execution(self, name: str, **given: object) -> Execution:
        number = self._record.counts["executions"] + self._record.counts["executions at rest"]
        seed = self._random.getrandbits(30)
        return Execution(self._lambdas, f"{name}-{self._plan.seed}-{number}", given=given, seed=seed)

    def _execute_on(self, lane: int) -> None:
        """Run one execution after the other, and now and then redrive one that has failed."""
        while not self._record.calm:
            if self._failed and self._random.random() < 0.25:
                self._record.fault("a failed execution is redriven")
                execution = self._failed.pop(self._random.randrange(len(self._failed)))
                execution.redrive()
                self._keep(execution)
            else:
                self._run(self._execution(f"soak-{lane}", **self._input()))
            self._schedule.sleep(self._random.uniform(0, _MINUTE_S / 2))

    def _run(self, execution: Execution) -> None:
        self._record.counts["executions"] += 1
        if self._random.random() < 0.1 and not self._record.calm:
            self._record.fault("an execution is stopped")
            self._schedule.start("stop", execution.abort, in_s=self._random.uniform(0, 20))
        execution.run()
        self._keep(execution)

    def _keep(self, execution: Execution) -> None:
        if execution.redrivable:
            self._failed.append(execution)

    def _tell_of_termination(self, instance: str) -> None:
        self._record.counts["terminations told"] += 1
        self._run(self._execution("terminated", terminated=[instance]))

    def _input(self) -> dict[str, object]:
        """Return the input of the next execution: now and then an operator releases what is quarantined."""
        if self._random.random() >= 0.1:
            return {}
        ids = self._platform.quarantined()
        return {"release": self._random.sample(ids, min(20, len(ids)))}

    def _judge(self, crash: str, hours: float) -> Outcome:
        waiting = frozenset(body["video_id"] for body in self._environment.queue.bodies())
        case = Case(history.gather(self._postgres.dsn, self._record), self._environment.timing, waiting)
        found = verdicts.violations(case)
        if crash:
            found.append(Violation("runs", 0, self._schedule.now(), crash))
        counts = self._record.counts
        counts.update(write.step for _, _, write in case.by_product())
        counts["messages"] = sum(map(len, case.accepted.values()))
        counts.update(f"workers: {step['event']}" for step in self._record.told())
        lines = [line for violation in found[:3] for line in (str(violation), *story(case, violation))]
        return Outcome(self._record.faults, counts, deliveries.count(case), found, lines, hours)


def soak(plan: Plan, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Run one soak on servers of its own; these and their folder end with it, or with this process."""
    with scratch_folder() as folder:
        return Soak(plan, folder, say).run()
