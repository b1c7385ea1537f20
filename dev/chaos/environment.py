"""What surrounds the product's functions in a test: relays, a queue, times, and the injection of faults."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dev.chaos.history import Record
from dev.chaos.queue import Queue
from dev.chaos.schedule import Schedule
from dev.local.relay import Relay

if TYPE_CHECKING:
    from dev.chaos.invocation import Invocation

When = Literal["before", "after"]
Inject = Callable[["Invocation", str, When, Any], str | None]
"""Called at each call of the product with the invocation, the call's name, whether it is about to be made or
has just been answered, and the connection. It may raise, wait, or return a statement to run instead."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The product's settings and the limits around it, in seconds of the schedule.

    Attributes:
        silent_after_s: how long a heartbeat must not have moved, unless it is mass silence.
        mass_silence_s: how long, when more workers are silent than heard.
        lost_after_s: how long a video must have waited before its message can count as lost.
        handoff_s: length of a handoff lease.
        max_reclaims: a video that was reclaimed more often is quarantined; 0 for no limit.
        expired_but_beating: what is done about such videos: ``reclaim`` or ``spare``.
        function_s: the function's time-out.
        redis_patience_s: time-out of a call to Redis, in real seconds.
    """

    silent_after_s: int = 60
    mass_silence_s: int = 600
    lost_after_s: int = 300
    handoff_s: int = 900
    max_reclaims: int = 5
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"
    function_s: float = 60
    redis_patience_s: float = 0.5


@dataclass
class FaultyEnvironment:
    """The services that the functions use, with the places where faults are injected.

    Attributes:
        schedule: the time.
        postgres_relay: the relay in front of the database.
        redis_relay: the relay in front of Redis.
        queue: the queue.
        timing: the settings.
        record: receives every event.
        inject: see `Inject`; injects nothing by default.
        pause_s: returns how long others go on before and after each call; none by default.
        rng: chooses the error under which a dead function is reported.
    """

    schedule: Schedule
    postgres_relay: Relay
    redis_relay: Relay
    queue: Queue
    timing: Timing
    record: Record
    inject: Inject = lambda _invocation, _call, _when, _connection: None
    pause_s: Callable[[], float] | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(0))
