"""The product's functions in a local Lambda, with the servers, the queue and the time that they use.

A sandbox stands for one of Lambda's processes: it serves one invocation at a time, keeps its connections from
one to the next, and may die at any moment. A death is an exception that the product never catches; after it
the sandbox's connections are closed and each of its later calls raises the same.
"""

import contextlib
import itertools
import json
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg2
import redis

from dev.chaos.history import Record
from dev.chaos.queue import FaultyQueue
from dev.chaos.timeline import Timeline
from dev.local.relay import Relay

_FAILURES = ("Lambda.Unknown", "Runtime.ExitError", "Lambda.ServiceException", "Sandbox.Timedout")
"""The errors under which Step Functions may see the end of a function's process."""

FUNCTION_S = 60
"""A function's time-out."""

When = Literal["before", "after"]
Inject = Callable[["Invocation", str, When], str | None]
"""Called at each call of the product with the invocation, the call's name, and whether it is about to be made or
has just been answered. It may raise, wait, or return a statement to run instead."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The product's settings `reclaiming`, as docs/reference.md has them, in seconds of the timeline."""

    silent_after_seconds: int = 60
    mass_silence_seconds: int = 600
    lost_after_seconds: int = 300
    handoff_seconds: int = 900
    max_reclaims: int = 5
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What a soak is asked for."""

    faults: int  # the soak ends after this many faults
    seed: int  # seeds every random choice
    videos: int = 200  # number of videos at any time
    workers: int = 20  # number of workers at any time


@dataclass
class FaultyEnvironment:
    """The services that the functions use, with the places where faults are injected."""

    timeline: Timeline
    postgres_relay: Relay
    redis_relay: Relay
    queue: FaultyQueue
    timing: Timing
    record: Record
    inject: Inject = lambda *_: None


class Died(BaseException):
    """The function's process has ended. A BaseException, so that no handler of the product catches it."""


class LambdaError(Exception):
    """A failed invocation, as Step Functions sees it: ``name`` is the error's."""

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name


@dataclass(eq=False)
class Sandbox:
    """One process of a function, with its own connections."""

    environment: FaultyEnvironment
    dead: bool = False  # it has ended; every further call raises `Died`
    disconnect: list[Callable[[], object]] = field(default_factory=list)  # ends each connection ever opened

    def end(self) -> None:
        """Close every connection that the process held open."""
        self.dead = True
        for disconnect in self.disconnect:
            with contextlib.suppress(psycopg2.Error, redis.RedisError):
                disconnect()


@dataclass
class Invocation:
    """One invocation of a function."""

    id: str  # unique
    step: str  # the function's name
    event: dict[str, Any]  # the function's input
    sandbox: Sandbox  # the process that serves it
    deadline: float  # when the function times out
    answer: Any = None  # what Step Functions receives, once it has: a JSON value or a `LambdaError`

    def reach(self, call: str, when: When, **details: Any) -> str | None:  # noqa: ANN401
        """Record a call and inject what is due; return a statement to run instead, or None.

        Raises:
            Died: the process has ended, just now or before.
        """
        environment = self.sandbox.environment
        if self.sandbox.dead:
            raise Died(call)
        if environment.timeline.now() > self.deadline:
            self.note_fault("the function runs out of time")
            self.die()
        told = {"invocation": self.id, "step": self.step, "call": call, "when": when, **details}
        instead = environment.inject(self, call, when) if when == "before" else None
        environment.record.note("call", **told)  # what stalls before a call is over by then
        return environment.inject(self, call, when) if when == "after" else instead

    def note_fault(self, fault: str) -> None:
        """Record a fault that is about to be injected."""
        self.sandbox.environment.record.fault(fault, invocation=self.id)

    def die(self) -> None:
        """End the process here. Raises Died."""
        self.sandbox.dead = True
        raise Died

    def lose_answer(self, wait_s: float) -> None:
        """Let Step Functions see a failed invocation now, while the function goes on ``wait_s`` later."""
        if self.answer is None:
            self.answer = LambdaError("Lambda.Unknown", "the answer never came")
        self.sandbox.environment.timeline.sleep(wait_s)


_running = threading.local()


def current() -> Invocation:
    """Return the invocation that this thread serves. Raises AttributeError where it serves none."""
    invocation: Invocation = _running.invocation
    return invocation


class Lambdas:
    """Runs the functions; each invocation gets a warm sandbox if there is one, else a new one."""

    def __init__(
        self,
        environment: FaultyEnvironment,
        handlers: Mapping[str, Callable[[dict[str, Any], object], Any]],
    ) -> None:
        self.environment = environment
        self._handlers = handlers
        self._warm: dict[str, list[Sandbox]] = defaultdict(list)
        self._numbers = itertools.count(1)

    def invoke(self, step: str, event: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
        """Call a function and return its answer.

        Raises:
            LambdaError: the error as Step Functions sees it.
        """
        timeline, warm = self.environment.timeline, self._warm[step]
        invocation = Invocation(
            f"{step}-{next(self._numbers)}",
            step,
            json.loads(json.dumps(event)),
            warm.pop() if warm else Sandbox(self.environment),
            deadline=timeline.now() + FUNCTION_S,
        )
        timeline.start(invocation.id, lambda: self._run(invocation))
        timeline.wait(lambda: invocation.answer is not None)
        if isinstance(invocation.answer, LambdaError):
            raise invocation.answer
        return invocation.answer

    def forget(self) -> None:
        """End every idle sandbox, as a deployment does."""
        for warm in self._warm.values():
            while warm:
                warm.pop().end()

    def _run(self, invocation: Invocation) -> None:
        record, sandbox = self.environment.record, invocation.sandbox
        _running.invocation = invocation
        record.note("began", invocation=invocation.id, step=invocation.step, event=invocation.event)
        outcome: Any
        try:
            outcome = json.loads(json.dumps(self._handlers[invocation.step](invocation.event, None)))
            invocation.reach("answer", "before")
        except Died:
            outcome = LambdaError(random.choice(_FAILURES), "the process ended")
        except Exception as exc:
            outcome = LambdaError(type(exc).__name__, str(exc))
        error = outcome.name if isinstance(outcome, LambdaError) else None
        record.note("ended", invocation=invocation.id, error=error)
        if sandbox.dead:
            sandbox.end()
        else:
            self._warm[invocation.step].append(sandbox)
        if invocation.answer is None:
            invocation.answer = outcome
