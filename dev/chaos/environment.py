"""What surrounds the product's functions in a test: relays, a queue, times, and the injection of faults."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dev.chaos.history import Record
from dev.chaos.queue import Queue
from dev.local.relay import Relay

if TYPE_CHECKING:
    from dev.chaos.invocation import Invocation

When = Literal["before", "after"]
Inject = Callable[["Invocation", str, When, Any], str | None]
"""Called at each call of the product with the invocation, the call's name, whether it is about to be made or
has just been answered, and the connection. It may raise, wait, or return a statement to run instead."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The product's settings and the limits around it, in real seconds.

    Attributes:
        confirm_s: how long silence must last, unless it is mass silence.
        strike_memory_s: after how long a strike that nobody looks at expires; whole seconds.
        handoff_s: length of a handoff lease.
        max_reclaims: a video that was reclaimed more often is quarantined; 0 for no limit.
        function_s: the function's time-out.
        redis_patience_s: time-out of a call to Redis.
        retry_scale: factor for the state machine's retry intervals.
        second_look_s: how long the state machine waits before its second look.
        mass_silence_s: how long silence must last when no worker is heard.
        lost_after_s: how long a video must have waited before its message can count as lost.
        receive_limit_s: how long a message exists at most after it was first received.
        empty_looks_apart_s: how far apart two looks at an empty queue must be.
        locked_row_scale: factor for the pauses between attempts to clear a row that somebody else has locked.
        lost_messages: what is done about lost messages: ``resend`` or ``report``.
        expired_but_beating: what is done about such videos: ``reclaim`` or ``spare``.
    """

    confirm_s: float = 60
    strike_memory_s: int = 240
    handoff_s: float = 900
    max_reclaims: int = 5
    function_s: float = 60
    redis_patience_s: float = 2
    retry_scale: float = 1.0
    second_look_s: float = 0.0
    mass_silence_s: float = 600
    lost_after_s: float = 900
    receive_limit_s: float = 900
    empty_looks_apart_s: float = 60
    locked_row_scale: float = 1.0
    lost_messages: Literal["resend", "report"] = "resend"
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"

    @classmethod
    def scaled(cls, minute_s: float, *, max_reclaims: int = 5) -> "Timing":
        """Return the defaults, with a minute lasting ``minute_s`` seconds.

        The machine does not get faster with it, so a function still has at least two seconds. That is far
        below half a handoff, which is what the protocol needs.
        """
        return cls(
            confirm_s=minute_s / 2,
            second_look_s=minute_s * 32 / 60,
            strike_memory_s=max(1, round(4 * minute_s)),
            handoff_s=15 * minute_s,
            max_reclaims=max_reclaims,
            function_s=max(minute_s, 2.0),
            redis_patience_s=max(2 * minute_s / 60, 0.1),
            retry_scale=minute_s / 60,
            mass_silence_s=10 * minute_s,
            lost_after_s=15 * minute_s,
            receive_limit_s=15 * minute_s,
            empty_looks_apart_s=minute_s,
            locked_row_scale=minute_s / 60,
        )


@dataclass
class FaultyEnvironment:
    """The services that the functions use, with the places where faults are injected.

    Attributes:
        postgres_relay: the relay in front of the database.
        redis_relay: the relay in front of Redis.
        queue: the queue.
        timing: the settings.
        record: receives every event.
        inject: see `Inject`; injects nothing by default.
        rng: chooses the error under which a dead function is reported.
        instances: returns the ids of the worker group's instances; None for unknown, which is the default.
    """

    postgres_relay: Relay
    redis_relay: Relay
    queue: Queue
    timing: Timing
    record: Record
    inject: Inject = lambda _invocation, _call, _when, _connection: None
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    instances: Callable[[], set[str] | None] = lambda: None
