"""The product's functions in the sandboxes of a local Lambda.

A sandbox stands for one of Lambda's processes: it serves one invocation at a time, keeps its connections from
one to the next, and may die at any moment. A death is an exception that the product never catches; after it
the sandbox's connections are closed and each of its later calls raises the same.
"""

import contextlib
import itertools
import json
import random
from collections.abc import Mapping
from typing import Any

import psycopg2
import redis

from dev.chaos import product
from dev.chaos.environment import (
    LAMBDA_FAILURES,
    Died,
    FaultyEnvironment,
    Invocation,
    LambdaError,
    set_current,
)


class Sandbox:
    """One process of a function, with its own connections.

    Attributes:
        dead: it has ended; every further call raises `Died`.
        connections: to the database, all that it ever opened.
        clients: of Redis, all that it ever made.
    """

    def __init__(self, environment: FaultyEnvironment) -> None:
        self.environment = environment
        self.dead = False
        self.connections: list[Any] = []
        self.clients: list[redis.Redis] = []
        self.store = product.open_store(environment.postgres_relay.port)
        self.heartbeats = product.open_heartbeats(environment.redis_relay.port, environment.timing)

    def end(self) -> None:
        """Close every connection that the process held open."""
        self.dead = True
        for connection in self.connections:
            with contextlib.suppress(psycopg2.Error):
                connection.close()
        for client in self.clients:
            client.connection_pool.disconnect()


class Lambdas:
    """Runs the functions; each invocation gets a warm sandbox if there is one, else a new one."""

    def __init__(self, environment: FaultyEnvironment) -> None:
        self.environment = environment
        self._warm: dict[str, list[Sandbox]] = {}
        self._numbers = itertools.count(1)

    def invoke(self, step: str, event: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
        """Call a function and return its answer.

        Raises:
            LambdaError: the error as Step Functions sees it.
        """
        schedule, warm = self.environment.schedule, self._warm.setdefault(step, [])
        invocation = Invocation(
            f"{step}-{next(self._numbers)}",
            step,
            json.loads(json.dumps(event)),
            warm.pop() if warm else Sandbox(self.environment),
            deadline=schedule.now() + self.environment.timing.function_s,
        )
        schedule.start(invocation.id, lambda: self._run(invocation))
        schedule.wait(lambda: invocation.answer is not None)
        if isinstance(invocation.answer, LambdaError):
            raise invocation.answer
        return invocation.answer

    def forget(self) -> None:
        """End every idle sandbox, as a deployment does."""
        idle, self._warm = [sandbox for warm in self._warm.values() for sandbox in warm], {}
        for sandbox in idle:
            sandbox.end()

    def _run(self, invocation: Invocation) -> None:
        record, sandbox = self.environment.record, invocation.sandbox
        set_current(invocation)
        record.note("began", invocation=invocation.id, step=invocation.step, event=invocation.event)
        outcome: Any
        try:
            outcome = json.loads(json.dumps(product.HANDLERS[invocation.step](invocation.event, None)))
            invocation.reach("answer", "before")
        except Died:
            outcome = LambdaError(random.choice(LAMBDA_FAILURES), "the process ended")
        except Exception as exc:
            outcome = LambdaError(type(exc).__name__, str(exc))
        error = outcome.name if isinstance(outcome, LambdaError) else None
        record.note("ended", invocation=invocation.id, error=error, faults=invocation.faults)
        if sandbox.dead:
            sandbox.end()
        else:
            self._warm.setdefault(invocation.step, []).append(sandbox)
        if invocation.answer is None:
            invocation.answer = outcome
