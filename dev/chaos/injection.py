"""Faults at the product's calls: for each call the kinds that can occur, and how each is carried out."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from dev.chaos.environment import When
from dev.chaos.invocation import Invocation
from dev.chaos.plan import Plan, Tally
from dev.chaos.platform import Platform
from dev.chaos.queue import SendFault
from dev.local.relay import Cut

_RAISE = "DO $$ BEGIN RAISE EXCEPTION '{}' USING ERRCODE = '{}'; END $$"
_SEND_FAULTS: tuple[SendFault, ...] = get_args(SendFault)
_WORDS = {
    "connect": "connecting",
    "set up session": "setting up the session",
    "list candidates": "listing",
    "read videos": "reading the batch",
    "lease for handoff": "the reclaim's commit",
    "quarantine": "the quarantine's commit",
    "read handoffs": "reading the handoffs",
    "clear handoffs": "clearing the handoffs",
    "read unfinished": "asking which videos are finished",
    "read own": "asking which handoffs were locked",
    "read uncleared": "asking which handoffs are left",
    "read heartbeats": "reading heartbeats",
    "read missing heartbeats": "reading missing heartbeats again",
    "read heartbeats and reclaims": "counting the reclaims",
    "undo counts": "undoing counts",
    "record strikes": "recording strikes",
    "end counts": "ending counts",
    "record waits": "recording waits",
    "take waits": "taking waits",
    "prepare jobs": "preparing jobs",
    "forget status": "forgetting a status",
    "read depth": "reading the queue's depth",
    "read oldest": "reading the oldest message's age",
    "read group": "reading the group",
    "send": "a send",
    "answer": "its answer",
    "statement": "a statement",
}
_POSTGRES = (
    "list candidates",
    "read videos",
    "lease for handoff",
    "quarantine",
    "read handoffs",
    "clear handoffs",
    "read own",
    "read uncleared",
    "read unfinished",
)
_REDIS = (
    "read heartbeats",
    "read missing heartbeats",
    "read heartbeats and reclaims",
    "record strikes",
    "record waits",
    "take waits",
    "prepare jobs",
    "undo counts",
    "end counts",
    "forget status",
)
_UNKNOWN = ("read depth", "read oldest", "read group")
_ERRORS = {
    "deadlock": ("PostgreSQL finds a deadlock", _RAISE.format("deadlock detected", "40P01")),
    "canceled": (
        "PostgreSQL cancels a statement",
        _RAISE.format("canceling statement due to statement timeout", "57014"),
    ),
    "refused": (
        "PostgreSQL refuses a statement",
        _RAISE.format("permission denied for table video_video", "42501"),
    ),
}


def kinds(call: str, when: When) -> Iterator[str]:
    """Yield the faults that can occur at a call; one that is yielded twice occurs twice as often."""
    yield "die"
    if call == "answer":
        yield "lost"
        return
    yield "pause"
    if call in ("lease for handoff", "send", "clear handoffs") and when == "before":
        yield "late"
    if call in ("read videos", "lease for handoff", "read handoffs", "send", "clear handoffs"):
        yield "platform"
    if call in _POSTGRES and when == "before":
        yield from ("before", "during", "after", "deadlock", "canceled", "terminated")
        if call in ("lease for handoff", "read handoffs"):
            yield "refused"
    if call in _REDIS and when == "before":
        yield from ("redis before", "redis during", "redis after")
    if call in _UNKNOWN and when == "before":
        yield "unknown"
    if call == "send" and when == "before":
        yield from (f"sqs {fault}" for fault in _SEND_FAULTS)


class Injector:
    """Injects a random fault into a share of the product's calls, until `Tally.calm` is set."""

    def __init__(self, plan: Plan, tally: Tally, platform: Platform) -> None:
        self._plan, self._tally, self._platform = plan, tally, platform
        self._random = random.Random(plan.seed)
        self._lock = threading.Lock()

    def __call__(self, invocation: Invocation, call: str, when: When, connection: Any) -> str | None:  # noqa: ANN401
        """Inject a fault, or not; return a statement to run instead, or None. See `environment.Inject`."""
        if self._tally.calm.is_set():
            return None
        with self._lock:
            if self._random.random() >= self._plan.fault_share:
                return None
            possible = list(kinds(call, when))
            kind = self._random.choice(possible) if possible else None
        if kind is None:
            return None
        if kind in _ERRORS:
            fault, statement = _ERRORS[kind]
            self._note(invocation, fault)
            return statement
        if kind == "unknown":
            self._note(invocation, f"no answer to {_WORDS[call]}")
            return kind
        if kind in ("die", "lost", "late", "pause"):
            self._at_function(kind, invocation, f"{when} {_WORDS[call]}")
        else:
            self._at_service(kind, invocation, call, connection)
        return None

    def _note(self, invocation: Invocation, fault: str) -> None:
        invocation.note_fault(fault)
        self._tally.fault(fault)

    def _at_function(self, kind: str, invocation: Invocation, where: str) -> None:
        function_s = invocation.sandbox.environment.timing.function_s
        if kind == "die":
            self._note(invocation, f"the function dies {where}")
            invocation.die()
        elif kind == "late":
            self._note(invocation, f"the function is taken for dead {where}, and goes on")
            invocation.lose_answer(function_s * 0.2)
        elif kind == "lost":
            self._note(invocation, "the function's answer is lost")
            invocation.lose_answer(0)
        else:
            self._note(invocation, f"the function stalls {where}")
            time.sleep(function_s * 0.05)

    def _at_service(self, kind: str, invocation: Invocation, call: str, connection: Any) -> None:  # noqa: ANN401
        environment = invocation.sandbox.environment
        if kind in ("before", "during", "after"):
            cut: Cut = kind  # type: ignore[assignment]
            self._note(invocation, f"PostgreSQL's connection is cut {cut} {_WORDS[call]}")
            invocation.cut(connection, cut)
        elif kind == "terminated":
            self._note(invocation, "PostgreSQL ends a session")
            self._platform.terminate(connection.info.backend_pid)
        elif kind.startswith("redis "):
            cut = kind.removeprefix("redis ")  # type: ignore[assignment]
            self._note(invocation, f"Redis's connection is cut {cut} {_WORDS[call]}")
            environment.redis_relay.cut_next(cut)
        elif kind.startswith("sqs "):
            fault: SendFault = kind.removeprefix("sqs ")  # type: ignore[assignment]
            self._note(invocation, f"SQS {fault}" if " " in fault or fault.endswith("s") else f"SQS: {fault}")
            environment.queue.faults[invocation.id] = fault
        elif kind == "platform":
            for video in self._some(invocation.event.get("videos", [])):
                self._note(invocation, self._platform.meddle(video))

    def _some(self, videos: Sequence[int]) -> list[int]:
        with self._lock:
            return [self._random.choice(videos)] if videos else []
