"""The clock of a simulation, and what happens at which second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

Handlers = Mapping[str, Callable[[Any], None]]
"""What to call for each kind of event, with the event's subject."""


class Events:
    """Events in the order of their time; those of the same second in the order in which they were added."""

    __slots__ = ("_order", "_pending", "handlers", "now_s")

    def __init__(self) -> None:
        self.now_s = 0.0
        self.handlers: Handlers = {}
        self._pending: list[tuple[float, int, str, object]] = []
        self._order = count()

    def at(self, at_s: float, kind: str, subject: object) -> None:
        """Add an event at a second of the trace."""
        heappush(self._pending, (at_s, next(self._order), kind, subject))

    def after(self, delay_s: float, kind: str, subject: object) -> None:
        """Add an event some seconds from now."""
        self.at(self.now_s + delay_s, kind, subject)

    def advance(self, until_s: float) -> None:
        """Let everything happen up to a second, that second included."""
        pending, handlers = self._pending, self.handlers
        while pending and pending[0][0] <= until_s:
            self.now_s, _, kind, subject = heappop(pending)
            handlers[kind](subject)
        self.now_s = until_s
