"""The scaling policies that are compared: each sees a view once a minute and asks for a capacity."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil
from typing import Protocol

from video_reclaim.scaling import Decision, Group, Inputs, Point, Policy, Reading, decide

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
"""The moment that second 0 of a trace stands for."""

UNKNOWN = Reading(None, None)


@dataclass(slots=True)
class View:
    """What a policy can see at one tick.

    Attributes:
        at_s: Seconds since the trace began.
        uploaded: Videos waiting; None while the database cannot be read. So are the others.
        processing: Rows that say they are being encoded.
        visible: Messages waiting.
        in_flight: Messages received and not deleted.
        points: BacklogCount as far as it can be read back, oldest first; None while CloudWatch fails.
        desired: The group's capacity now.
        in_service: Instances that have booted.
        unprotected: Those of them that the group may choose to end.
    """

    at_s: float = 0.0
    uploaded: int | None = None
    processing: int | None = None
    visible: int | None = None
    in_flight: int | None = None
    points: tuple[Point, ...] | None = None
    desired: int = 0
    in_service: int = 0
    unprotected: int = 0


class ScalingPolicy(Protocol):
    """One contender; made anew for each run, since most have a memory.

    Attributes:
        protects: Its workers launch protected from scale-in and unprotect when idle.
        holds_messages: In its world a message stays in flight while its video is encoded. The platform's
            workers delete it on receipt.
        looks_back_s: How much of the metric's past it reads.
    """

    looks_back_s: int
    protects: bool
    holds_messages: bool

    def ask(self, view: View) -> int:
        """Give the capacity to set; the group's present one to change nothing."""
        ...


class Reclaim:
    """This project's decision: the very function that the Lambda runs."""

    holds_messages = False

    def __init__(self, low: int, high: int, *, protects: bool, policy: Policy | None = None) -> None:
        self.low, self.high, self.protects = low, high, protects
        self.policy = policy or Policy()
        self.looks_back_s = self.policy.scale_in_window_s
        self.decision: Decision | None = None
        """The latest one, whole."""

    def ask(self, view: View) -> int:
        """Put the view into a record and decide."""
        self.decision = decision = decide(
            Inputs(
                at=EPOCH + timedelta(seconds=view.at_s),
                uploaded=_reading(view.uploaded),
                processing=_reading(view.processing),
                visible=_reading(view.visible),
                in_flight=_reading(view.in_flight),
                window=view.points or (),
                queue_window=(),
                group=Group(
                    self.low, self.high, view.desired, view.in_service, self.protects, view.unprotected
                ),
                policy=self.policy,
            )
        )
        return view.desired if decision.desired is None else decision.desired


class Platform:
    """The platform's former policy: in flight + min(visible, 5), to the minimum after 1,200 s of nothing.

    A queue that cannot be read counts as empty.
    """

    looks_back_s = 300
    protects = False
    STEP = 5
    EMPTY_S = 1200

    def __init__(self, low: int, high: int, *, holds_messages: bool) -> None:
        self.low, self.high, self.holds_messages = low, high, holds_messages
        self.zero_since_s: float | None = None

    def ask(self, view: View) -> int:
        """Apply it to the queue alone."""
        visible, in_flight = view.visible or 0, view.in_flight or 0
        if visible or in_flight:
            self.zero_since_s = None
            return _clamp(in_flight + min(visible, self.STEP), self.low, self.high)
        if self.zero_since_s is None:
            self.zero_since_s = view.at_s
        return self.low if view.at_s - self.zero_since_s >= self.EMPTY_S else view.desired


class Hpa:
    """KEDA's CloudWatch scaler under a Kubernetes HPA: rolling maximum of 300 s, tolerance of a tenth.

    The newest point of the last five minutes counts; none reads as 0, KEDA's default. An error of CloudWatch
    itself makes the HPA hold.
    """

    looks_back_s = 300
    protects = False
    holds_messages = False
    STABILIZATION_S = 300
    COLLECTION_S = 300
    TOLERANCE = 0.1

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.asked: deque[tuple[float, int]] = deque()

    def ask(self, view: View) -> int:
        """Recommend, then take the highest recommendation of the stabilization window."""
        if view.points is None:
            return view.desired
        value = _newest(view, self.COLLECTION_S) or 0.0
        asked = _clamp(ceil(value), self.low, self.high)
        if view.desired and abs(value / view.desired - 1) <= self.TOLERANCE:
            asked = view.desired
        self.asked.append((view.at_s, asked))
        while self.asked[0][0] < view.at_s - self.STABILIZATION_S:
            self.asked.popleft()
        return max(recommended for _, recommended in self.asked)


class Buildkite:
    """Scheduled + running both ways, as buildkite-agent-scaler does; holds when its source is unknown."""

    looks_back_s = 300
    protects = False
    holds_messages = False

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def ask(self, view: View) -> int:
        """Follow the backlog exactly."""
        if view.uploaded is None or view.processing is None:
            return view.desired
        return _clamp(view.uploaded + view.processing, self.low, self.high)


class TargetTracking:
    """AWS's backlog per instance with a target of 1: out after 3 high minutes, in after 15 low ones.

    Low is under nine tenths of the target, as AWS draws its alarm. A missing minute changes nothing.
    """

    looks_back_s = 300
    protects = False
    holds_messages = False
    HIGH_MINUTES = 3
    LOW_MINUTES = 15
    LOW = 0.9

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.per_instance: deque[float | None] = deque(maxlen=self.LOW_MINUTES)

    def ask(self, view: View) -> int:
        """Track the backlog that each instance in service has."""
        backlog = None if view.points is None else _newest(view, 180)
        self.per_instance.append(None if backlog is None else backlog / max(view.in_service, 1))
        if backlog is None:
            return view.desired
        known = [value for value in self.per_instance if value is not None]
        target = _clamp(ceil(backlog), self.low, self.high)
        newest = list(self.per_instance)[-self.HIGH_MINUTES :]
        if len(newest) == self.HIGH_MINUTES and all(value is not None and value > 1 for value in newest):
            return max(target, view.desired)
        if len(known) == self.LOW_MINUTES and all(value < self.LOW for value in known):
            return min(target, view.desired)
        return view.desired


class Constant:
    """Never changes: with the maximum, what no policy can drain faster than."""

    looks_back_s = 300
    protects = False
    holds_messages = False

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def ask(self, view: View) -> int:
        """Give the same number whatever happens."""
        return self.workers


CONTENDERS = (
    "video-reclaim, protected",
    "video-reclaim, unprotected",
    "platform, messages deleted on receipt",
    "platform, messages held while encoding",
    "KEDA/HPA, rolling maximum",
    "buildkite-style, both ways",
    "target tracking, backlog per instance",
    "always the maximum",
)


def make_policy(name: str, low: int, high: int, policy: Policy | None = None) -> ScalingPolicy:
    """Make a contender afresh.

    Raises:
        KeyError: There is none of that name.
    """
    makers: dict[str, Callable[[], ScalingPolicy]] = {
        CONTENDERS[0]: lambda: Reclaim(low, high, protects=True, policy=policy),
        CONTENDERS[1]: lambda: Reclaim(low, high, protects=False, policy=policy),
        CONTENDERS[2]: lambda: Platform(low, high, holds_messages=False),
        CONTENDERS[3]: lambda: Platform(low, high, holds_messages=True),
        CONTENDERS[4]: lambda: Hpa(low, high),
        CONTENDERS[5]: lambda: Buildkite(low, high),
        CONTENDERS[6]: lambda: TargetTracking(low, high),
        CONTENDERS[7]: lambda: Constant(high),
    }
    return makers[name]()


@lru_cache(maxsize=1024)
def _reading(value: int | None) -> Reading:
    return UNKNOWN if value is None else Reading(value, 1.0)


def _clamp(workers: int, low: int, high: int) -> int:
    return min(max(workers, low), high)


def _newest(view: View, within_s: float) -> float | None:
    """Give the newest point that can be read and is young enough."""
    if not view.points:
        return None
    newest = view.points[-1]
    age_s = view.at_s - (newest.at - EPOCH).total_seconds()
    return newest.value if age_s <= within_s else None
