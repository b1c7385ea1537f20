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
    """The product's settings and the limits around it, in seconds of the schedule."""

    silent_after_s: int = 60  # how long a heartbeat must not have moved, unless it is mass silence
    mass_silence_s: int = 600  # how long, when more workers are silent than heard
    lost_after_s: int = 300  # how long a video must have waited before its message can count as lost
    handoff_s: int = 900  # length of a handoff lease
    max_reclaims: int = 5  # a video that was reclaimed more often is quarantined; 0 for no limit
    # what is done about such videos: ``reclaim`` or ``spare``
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"
    function_s: float = 60  # the function's time-out
    redis_patience_s: float = 0.5  # time-out of a call to Redis, in real seconds


@dataclass
class FaultyEnvironment:
    """The services that the functions use, with the places where faults are injected."""

    schedule: Schedule  # the time
    postgres_relay: Relay  # the relay in front of the database
    redis_relay: Relay  # the relay in front of Redis
    queue: Queue  # the queue
    timing: Timing  # the settings
    record: Record  # receives every event
    # see `Inject`; injects nothing by default
    inject: Inject = lambda _invocation, _call, _when, _connection: None
    # returns how long others go on before and after each call; none by default
    pause_s: Callable[[], float] | None = None
    # chooses the error under which a dead function is reported
    rng: random.Random = field(default_factory=lambda: random.Random(0))
