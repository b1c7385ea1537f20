"""What an execution has finished, and where in the workflow a thread is."""

import contextvars
import threading
from collections import Counter
from typing import Any

Place = tuple[object, ...]
"""The visits of the Maps around a state, each followed by the item; () at the top."""

Visit = tuple[Place, str, int]
"""A place, the name of a state there, and which visit of that state it is, from 1."""

place: contextvars.ContextVar[Place] = contextvars.ContextVar("place", default=())
"""Where the states that this thread runs next are."""

running_attempt: "contextvars.ContextVar[Attempt | None]" = contextvars.ContextVar("attempt", default=None)
"""The attempt that this thread works for; None for an Express workflow."""

journals: "dict[str, Journal]" = {}
"""Journals by the ARN of the execution."""


class SupersededError(BaseException):
    """Ends a thread whose attempt is over: the execution was stopped, timed out or redriven meanwhile.

    Not an Exception, so that neither a Catch nor ministack handles it as the error of a state.
    """


class Journal:
    """What one execution has finished, in all its attempts."""

    def __init__(self, execution: dict[str, Any], definition: str) -> None:
        """Start the journal of ``execution``, ministack's own record, with the definition at its start."""
        self.execution = execution
        self.definition = definition
        self.finished: dict[Visit, tuple[Any, str | None, dict[str, Any]]] = {}
        self.entered: Counter[str] = Counter()
        self.redrives = 0
        self.redriven_at: str | None = None
        self.attempt: Attempt | None = None
        self.lock = threading.Lock()


class Attempt:
    """One run of an execution: the first, or a redrive."""

    def __init__(self, journal: Journal) -> None:
        """Begin an attempt; an earlier one of the same execution is superseded."""
        self.journal = journal
        self.recorded = dict(journal.finished)
        self.visits: Counter[tuple[Place, str]] = Counter()
        self.entered: Counter[str] = Counter()
        self.replaying = False
        journal.attempt = self

    @property
    def current(self) -> bool:
        """Whether the execution still runs, and in this attempt."""
        return self.journal.attempt is self and self.journal.execution["status"] == "RUNNING"

    def require_current(self) -> None:
        """Raise SupersededError if this attempt is over."""
        if not self.current:
            raise SupersededError

    def visit(self, name: str) -> Visit:
        """Count a visit of a state at this thread's place."""
        with self.journal.lock:
            at = place.get()
            self.visits[at, name] += 1
            return at, name, self.visits[at, name]
