"""The product's functions in the sandboxes of a local Lambda.

A sandbox stands for one of Lambda's processes: it serves one invocation at a time, keeps its connections from
one to the next, and may die at any moment. A death is an exception that the product never catches; after it
the sandbox's connections are cut and each of its later calls raises the same.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dev.chaos import product
from dev.chaos.environment import FaultyEnvironment
from dev.chaos.invocation import LAMBDA_FAILURES, Died, Invocation, LambdaError, set_current


class Sandbox:
    """One process of a function, with its own connections.

    Attributes:
        dead: it has ended; every further call raises `Died`.
        connections: to the database, all that it ever opened.
    """

    def __init__(self, environment: FaultyEnvironment) -> None:
        self.environment = environment
        self.dead = False
        self.connections: list[Any] = []
        self.store = product.open_store(environment.postgres_relay.port)
        self.heartbeats = product.open_heartbeats(environment.redis_relay.port, environment.timing)

    def end(self) -> None:
        """Cut every connection that the process held open."""
        self.dead = True
        for connection in self.connections:
            with contextlib.suppress(Exception):
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
                connection.close()
        product.disconnect(self.heartbeats)


class Lambdas:
    """Runs the functions; each invocation gets a warm sandbox if there is one, else a new one."""

    def __init__(self, environment: FaultyEnvironment) -> None:
        self.environment = environment
        self._warm: dict[str, list[Sandbox]] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="lambda")
        self._numbers = iter(range(1, 1 << 60))

    def invoke(self, step: str, event: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
        """Call a function and return its answer.

        Raises:
            LambdaError: the error as Step Functions sees it.
        """
        with self._lock:
            warm = self._warm.setdefault(step, [])
            sandbox = warm.pop() if warm else Sandbox(self.environment)
            invocation = Invocation(
                f"{step}-{next(self._numbers)}", step, json.loads(json.dumps(event)), sandbox
            )
        self._threads.submit(self._run, invocation)
        return invocation.answer.result()

    def close(self) -> None:
        """Wait for the running invocations, then cut every connection."""
        self._threads.shutdown()
        for sandbox in [sandbox for warm in self._warm.values() for sandbox in warm]:
            sandbox.end()

    def forget(self) -> None:
        """End every idle sandbox, as a deployment does."""
        with self._lock:
            idle, self._warm = [s for warm in self._warm.values() for s in warm], {}
        for sandbox in idle:
            sandbox.end()

    def _run(self, invocation: Invocation) -> None:
        record, sandbox = self.environment.record, invocation.sandbox
        set_current(invocation)
        invocation.deadline = time.monotonic() + self.environment.timing.function_s
        record.note("began", invocation=invocation.id, step=invocation.step, event=invocation.event)
        outcome: Any
        try:
            answer = product.HANDLERS[invocation.step](invocation.event, None)
            answer = json.loads(json.dumps(answer))
            invocation.reach("answer", "before")
            outcome = answer
        except Died:
            sandbox.dead = True
            outcome = LambdaError(self.environment.rng.choice(LAMBDA_FAILURES), "the process ended")
        except Exception as exc:
            outcome = LambdaError(type(exc).__name__, str(exc))
        finally:
            set_current(None)
        error = outcome.name if isinstance(outcome, LambdaError) else None
        record.note(
            "ended", invocation=invocation.id, step=invocation.step, error=error, faults=invocation.faults
        )
        if sandbox.dead:
            sandbox.end()
        else:
            with self._lock:
                self._warm.setdefault(invocation.step, []).append(sandbox)
        if not invocation.answer.done():
            if isinstance(outcome, LambdaError):
                invocation.answer.set_exception(outcome)
            else:
                invocation.answer.set_result(outcome)
