"""A soak: workers, executions and users on real servers, with faults until enough have occurred.

One party acts at a time, and time passes without waiting (`timeline`), so each wait has its real length. At the
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
from dev.chaos.environment import Lambdas, SoakPlan, Timing
from dev.chaos.execution import Execution
from dev.chaos.injection import Injector
from dev.chaos.storm import Storm
from dev.chaos.timeline import Timeline
from dev.chaos.users import LOCK_TIMEOUT, Users
from dev.chaos.workers import Fleet
from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.valkey import Valkey
from dev.local.watchdog import scratch_folder
from dev.local.worker import Worker

_LANES, _MINUTE_S, _REST_S = 3, 60, 86_400
_TIMING = Timing(max_reclaims=1)
"""Redis loses the counts every few minutes, so that nothing would be quarantined after more reclaims."""


@dataclass(slots=True)
class Outcome:
    """The result of a soak."""

    faults: Counter[str]  # number of faults, by kind
    counts: Counter[str]  # executions, redrives, reclaims, messages, claims and so on
    duplicates: Counter[str]  # messages for a video that had one already, by cause
    violations: list[Violation]  # the rules that were broken, in the order of time
    story: list[str]  # everything known about the videos of the first violations
    hours: float  # the timeline's time


class Soak:
    """One soak, from empty servers to the verdicts."""

    def __init__(
        self, plan: SoakPlan, folder: Path, say: Callable[[str], None], undo: contextlib.ExitStack
    ) -> None:
        """Start everything; ``undo`` ends it."""
        self._plan, self._say = plan, say
        self._failed: list[Execution] = []
        self._random = random.Random(plan.seed + 5)
        random.seed(plan.seed)  # errors of dead functions
        self._postgres = undo.enter_context(Postgres(folder / "postgres"))
        valkey = undo.enter_context(Valkey(folder / "valkey"))
        dsn = self._postgres.dsn
        create_schema(dsn)
        history.install(dsn)
        self._timeline = timeline = Timeline(dsn, valkey.url)
        self._began = timeline.now()
        timeline.install()
        self._environment = environment = undo.enter_context(
            product.boundary(timeline, self._postgres, valkey, _TIMING)
        )
        self._record = environment.record
        self._users = Users(dsn, valkey.url, environment, plan)
        undo.callback(self._users.disconnect)
        environment.inject = Injector(plan, self._users)
        self._lambdas = Lambdas(environment, product.HANDLERS)
        undo.callback(self._lambdas.forget)
        make = partial(
            Worker,
            sqs=cast(Any, environment.queue),
            queue_url=environment.queue.url,
            dsn=f"{dsn}?options={LOCK_TIMEOUT.replace(' ', '%20').replace('=', '%3D')}",
            redis_url=valkey.url,
        )
        self._fleet = Fleet(environment, plan, make)
        around = (self._postgres, valkey, self._fleet, self._users)
        self._storm = Storm(environment, plan, *around, self._tell_of_termination)

    def run(self) -> Outcome:
        """Let everybody act until enough faults have occurred, come to rest, and return the outcome."""
        self._users.fill()
        self._fleet.start()
        parties = [self._timeline.start("storm", self._storm.run)]
        parties += [
            self._timeline.start(f"executions {lane}", partial(self._execute_on, lane))
            for lane in range(_LANES)
        ]
        shown = 0
        while self._record.faults.total() < self._plan.faults and not any(party.ended for party in parties):
            self._timeline.sleep(_MINUTE_S)
            if (thousands := self._record.faults.total() // 1000) > shown:
                shown = thousands
                self._say(f"{1000 * shown:6d} faults, {self._record.counts['executions']} executions")
        self._record.calm = True
        self._say(f"{self._record.faults.total():6d} faults; letting everything come to rest")
        self._timeline.join(parties)
        self._rest()
        outcome = self._judge()
        self._timeline.end()
        return outcome

    def _rest(self) -> None:
        until = self._timeline.now() + _REST_S
        while self._failed or self._users.unfinished():
            if self._timeline.now() > until:
                raise RuntimeError(f"there was work left: {self._users.unfinished()[:5]}")
            self._fleet.start()
            if self._failed:
                work, counted = self._failed.pop().redrive, "redrives at rest"
            else:
                work, counted = self._execution("rest").run, "executions at rest"
            self._timeline.join([self._timeline.start(counted, work)])
            self._record.counts[counted] += 1
            self._timeline.sleep(_MINUTE_S)

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
            self._timeline.sleep(self._random.uniform(0, _MINUTE_S / 2))

    def _run(self, execution: Execution) -> None:
        self._record.counts["executions"] += 1
        if self._random.random() < 0.1 and not self._record.calm:
            self._record.fault("an execution is stopped")
            self._timeline.start("stop", execution.abort, in_s=self._random.uniform(0, 20))
        execution.run()
        self._keep(execution)

    def _keep(self, execution: Execution) -> None:
        """Keep an execution that can be redriven; nobody redrives some of them."""
        if execution.redrivable and self._random.random() < 0.7:
            self._failed.append(execution)

    def _tell_of_termination(self, instance: str) -> None:
        self._record.counts["terminations told"] += 1
        self._run(self._execution("terminated", terminated=[instance]))

    def _input(self) -> dict[str, object]:
        """Return the input of the next execution: now and then an operator releases what is quarantined."""
        if self._random.random() >= 0.1:
            return {}
        ids = self._users.quarantined()
        return {"release": self._random.sample(ids, min(20, len(ids)))}

    def _judge(self) -> Outcome:
        waiting = frozenset(body["video_id"] for body in self._environment.queue.bodies())
        case = Case(history.gather(self._postgres.dsn, self._record), _TIMING, waiting)
        found = verdicts.violations(case)
        counts = self._record.counts
        counts.update(write.step for _, _, write in case.by_product())
        counts["messages"] = sum(map(len, case.accepted.values()))
        counts.update(f"workers: {step['event']}" for step in self._record.told())
        lines = [line for violation in found[:3] for line in (str(violation), *story(case, violation))]
        hours = (self._timeline.now() - self._began) / 3600
        return Outcome(self._record.faults, counts, deliveries.count(case), found, lines, hours)


def soak(plan: SoakPlan, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Run one soak on servers of its own; these and their folder end with it, or with this process."""
    with scratch_folder() as folder, contextlib.ExitStack() as undo:
        return Soak(plan, folder, say, undo).run()
