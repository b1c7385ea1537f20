"""Faults at the product's calls: for each call the kinds that can occur, and how each is carried out."""

import random
from collections.abc import Iterator
from typing import get_args

from dev.chaos.environment import FUNCTION_S, Invocation, SoakPlan, When
from dev.chaos.queue import SendFault
from dev.chaos.users import Users

POSTGRES = (
    "list candidates",
    "read videos",
    "lease for handoff",
    "quarantine",
    "read handoffs",
    "clear handoffs",
    "read uncleared",
)
REDIS = ("look", "remember", "count", "begin quarantine", "end counts", "forget status", "prepare jobs")
SEND_FAULTS: tuple[SendFault, ...] = get_args(SendFault)
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{}'; END $$"
ERRORS = {
    "finds a deadlock": "40P01",
    "cancels a statement": "57014",
    "refuses a statement": "42501",
    "is read-only": "25006",
}
"""What PostgreSQL may do at a statement, and the code of its error."""
_SHARE = 0.1
"""Of the product's calls, so many get a fault."""


def kinds(call: str, when: When) -> Iterator[str]:
    """Yield the faults that can occur at a call."""
    yield "die"
    if call == "answer":
        yield "lose the answer"
        return
    yield "stall"
    if call in ("lease for handoff", "send", "clear handoffs") and when == "before":
        yield "go on though taken for dead"
    if call in ("read videos", "lease for handoff", "read handoffs", "send", "clear handoffs"):
        yield "meddle"
    if call in POSTGRES and when == "before":
        yield from ("cut before", "cut after")
        yield from (error for error in ERRORS if error != "refuses a statement" or call != "list candidates")
    if call in REDIS and when == "before":
        yield from ("cut Redis before", "cut Redis after")
    if call == "read depth" and when == "before":
        yield "unknown"
    if call == "send" and when == "before":
        yield from (f"SQS {fault}" for fault in SEND_FAULTS)


def inflict(kind: str, invocation: Invocation) -> str | None:
    """Carry out a fault that concerns one call; return a statement to run instead, or None."""
    environment = invocation.sandbox.environment
    if kind in ERRORS:
        return RAISE.format(ERRORS[kind])
    if kind == "die":
        invocation.die()
    elif kind == "lose the answer":
        invocation.lose_answer(0)
    elif kind == "go on though taken for dead":
        invocation.lose_answer(FUNCTION_S * 0.2)
    elif kind == "stall":
        environment.timeline.sleep(FUNCTION_S * 0.1)
    elif kind.startswith("cut Redis "):
        environment.redis_relay.cut_next(kind.removeprefix("cut Redis "))  # type: ignore[arg-type]
    elif kind.startswith("cut "):
        environment.postgres_relay.cut_next(kind.removeprefix("cut "))  # type: ignore[arg-type]
    elif kind.startswith("SQS "):
        environment.queue.faults[invocation.id] = kind.removeprefix("SQS ")  # type: ignore[assignment]
    elif kind == "unknown":
        return kind
    return None


class Injector:
    """Lets others go on at each call of the product, and injects a fault into a share of them, until `Record.calm`."""

    def __init__(self, plan: SoakPlan, users: Users) -> None:
        self._users, self._random = users, random.Random(plan.seed)

    def __call__(self, invocation: Invocation, call: str, when: When) -> str | None:
        """Inject a fault, or not; return a statement to run instead, or None. See `environment.Inject`."""
        environment = invocation.sandbox.environment
        environment.timeline.sleep(self._random.choice((*[0.0] * 12, 1.0)))
        if environment.record.calm or self._random.random() >= _SHARE:
            return None
        kind = self._random.choice(list(kinds(call, when)))
        if kind == "meddle":
            if videos := invocation.event.get("videos"):
                environment.record.fault(self._users.meddle(self._random.choice(videos)))
            return None
        invocation.note_fault(f"{when} {call!r}: {kind}")  # by which `deliveries` knows it
        return inflict(kind, invocation)
