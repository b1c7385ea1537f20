"""One invocation of a function, and the faults that can be injected into it."""

import os
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dev.chaos.environment import When

if TYPE_CHECKING:
    from dev.chaos.sandbox import Sandbox

LAMBDA_FAILURES = ("Lambda.Unknown", "Runtime.ExitError", "Lambda.ServiceException", "Sandbox.Timedout")
"""The errors under which Step Functions may see the end of a function's process."""


class Died(BaseException):
    """The function's process has ended. A BaseException, so that no handler of the product catches it."""


class LambdaError(Exception):
    """A failed invocation, as Step Functions sees it.

    Attributes:
        name: the error's name.
    """

    def __init__(self, name: str, cause: str = "") -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name


@dataclass
class Invocation:
    """One invocation of a function."""

    id: str  # unique
    step: str  # the function's name
    event: dict[str, Any]  # the function's input
    sandbox: "Sandbox"  # the process that serves it
    deadline: float  # when the function times out
    answer: Any = None  # what Step Functions receives, once it has: a JSON value or a `LambdaError`
    faults: list[str] = field(default_factory=list)  # the faults injected so far

    def reach(self, call: str, when: When, connection: Any = None, **details: Any) -> str | None:  # noqa: ANN401
        """Record a call and inject what is due; return a statement to run instead, or None.

        Raises:
            Died: the process has ended, just now or before.
        """
        environment = self.sandbox.environment
        if environment.pause_s is not None:
            environment.schedule.sleep(environment.pause_s())
        if self.sandbox.dead:
            raise Died(call)
        if environment.schedule.now() > self.deadline:
            self.note_fault("the function runs out of time")
            self.die()
        environment.record.note("call", invocation=self.id, step=self.step, call=call, when=when, **details)
        return environment.inject(self, call, when, connection)

    def note_fault(self, fault: str) -> None:
        """Record a fault that is about to be injected."""
        self.faults.append(fault)
        self.sandbox.environment.record.note(
            "fault", fault=fault, invocation=self.id, step=self.step, videos=self.event.get("videos", [])
        )

    def die(self) -> None:
        """End the process here. Raises Died."""
        self.sandbox.dead = True
        raise Died

    def lose_answer(self, wait_s: float) -> None:
        """Let Step Functions see a failed invocation now, while the function goes on ``wait_s`` later."""
        if self.answer is None:
            self.answer = LambdaError("Lambda.Unknown", "the answer never came")
        self.sandbox.environment.schedule.sleep(wait_s)

    def cut(self, connection: Any, when: Literal["before", "during", "after"]) -> None:  # noqa: ANN401
        """Have the relay cut this database connection at its next statement."""
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            self.sandbox.environment.postgres_relay.cut(end.getsockname()[1], when)


_running = threading.local()


def current() -> Invocation | None:
    """Return the invocation that this thread serves, if any."""
    return getattr(_running, "invocation", None)


def set_current(invocation: Invocation | None) -> None:
    """Tie this thread to an invocation, or to none."""
    _running.invocation = invocation
