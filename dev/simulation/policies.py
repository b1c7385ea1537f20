"""The scaling policies that are compared: each sees a view once a minute and asks for a capacity.

Every rival gets the best case of its kind: one decision a minute like ours, the backlog from the database
where it reads one, and each of the three kinds of group. What they do is taken from:

- The platform's ``infra/worker_asg/queue_depth_lambda/lambda_function.py`` (``set_video_worker_desired``).
- kedacore/keda ``pkg/scalers/aws_cloudwatch_scaler.go`` (``metricCollectionTime`` 300; without data it gives
  ``minMetricValue``, here 0, since ``ignoreNullValues`` is true by default: keda#5873); Kubernetes:
  "Horizontal Pod Autoscaling" (tolerance 0.1, scale-down stabilization 300 s).
- buildkite/buildkite-agent-scaler ``scaler/scaling_calculator.go`` (scheduled + running, holds on metrics
  older than two minutes) and its README, "Gracefully scaling in" (``DISABLE_SCALE_IN``, agents that
  disconnect when idle); buildkite/elastic-ci-stack-for-aws: ``ScaleInIdlePeriod`` 600,
  AzRebalancingSuspender.
- AWS: "Scaling policy based on Amazon SQS" and "Target tracking scaling policies" (in only under nine tenths
  of the target; insufficient data changes nothing). The pages give no times: 3 and 15 minutes are those of
  the alarms that AWS creates.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Protocol

from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Decision, Group, Inputs, Point, Safety, Scaling

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
DEFAULT = Scaling("apply", 1, 1, 120, 1200, "")
"""The defaults of a stage."""

PAD_MINUTES = 64
"""Minutes before the trace, without a point, so that a window may reach back there."""


def point_of(minute: int, value: float) -> Point:
    """Make the point of a minute, counted from ``EPOCH``."""
    return Point(EPOCH + timedelta(minutes=minute), value)


@dataclass(slots=True)
class View:
    """What a policy can see at one run. The same object is filled again for each run.

    Attributes:
        at_s: Seconds since the trace began.
        uploaded: Videos waiting; None while the database cannot be read. So are the others.
        processing: Rows that say they are being encoded.
        visible: Messages waiting, deletions among them.
        in_flight: Messages received and not deleted.
        points: BacklogCount by minute, as far as it can be read back by now; None: no point.
        minute: The index of the present minute in ``points``.
        readable: Whether CloudWatch can be read.
        desired: The group's capacity now.
        in_service: Instances that have booted.
        draining: Instances that were chosen and finish their encode.
        safety: What becomes of a busy instance at a scale-in.
        low, high: The group's limits.
    """

    at_s: float = 0.0
    uploaded: int | None = None
    processing: int | None = None
    visible: int | None = None
    in_flight: int | None = None
    points: list[Point | None] = field(default_factory=list)
    minute: int = 0
    readable: bool = True
    desired: int = 0
    in_service: int = 0
    draining: int = 0
    safety: Safety = "unprotected"
    low: int = 1
    high: int = 20

    def newest(self, within_minutes: int) -> float | None:
        """Give the newest point that can be read and is young enough."""
        if self.readable:
            for point in self.points[self.minute : self.minute - within_minutes - 1 : -1]:
                if point is not None:
                    return point.value
        return None

    def clamp(self, workers: int) -> int:
        """Bring a number of workers within the group's limits."""
        return min(max(workers, self.low), self.high)


class ScalingPolicy(Protocol):
    """One contender; made anew for each run, since most have a memory.

    Attributes:
        holds_messages: In its world a message stays in flight while its video is encoded. The platform's
            workers delete it on receipt.
        idle_timeout_s: Its workers end themselves after so long without a message, and take desired down by
            one.
    """

    holds_messages: bool
    idle_timeout_s: float | None

    def ask(self, view: View) -> int:
        """Give the capacity to set; the group's present one to change nothing."""
        ...


class _Rival:
    holds_messages = False
    idle_timeout_s: float | None = None


class Reclaim(_Rival):
    """This project's decision; ``decision`` is the newest."""

    def __init__(self, policy: Scaling = DEFAULT) -> None:
        self.policy = policy
        self.decision: Decision | None = None

    def ask(self, view: View) -> int:
        """Put the view into a record and decide."""
        self.decision = decide(
            Inputs(
                at=EPOCH + timedelta(minutes=view.minute),
                uploaded=view.uploaded,
                processing=view.processing,
                visible=view.visible,
                # At its minimum nothing can be scaled in, so that most records need no window.
                window=self._window(view) if view.readable and view.desired > view.low else (),
                group=Group(view.low, view.high, view.desired, view.in_service, view.safety),
                settings=self.policy,
                measured_every_s=60,
                held_by_draining=view.draining,
            )
        )
        return view.desired if self.decision.desired is None else self.decision.desired

    def _window(self, view: View) -> tuple[Point, ...]:
        oldest = view.minute - self.policy.scale_in_window_seconds // 60
        return tuple(filter(None, view.points[oldest : view.minute + 1]))


class Platform(_Rival):
    """The platform's former policy: min(visible, 5), to the minimum after 1,200 s of nothing.

    With messages held while encoding, as it was first meant, the messages in flight are added. A queue that
    cannot be read counts as empty.
    """

    STEP = 5
    EMPTY_S = 1200

    def __init__(self, *, holds_messages: bool) -> None:
        self.holds_messages = holds_messages
        self.zero_since_s: float | None = None

    def ask(self, view: View) -> int:
        """Apply it to the queue alone."""
        visible, in_flight = view.visible or 0, view.in_flight or 0
        if visible or in_flight:
            self.zero_since_s = None
            return view.clamp(in_flight + min(visible, self.STEP))
        if self.zero_since_s is None:
            self.zero_since_s = view.at_s
        return view.low if view.at_s - self.zero_since_s >= self.EMPTY_S else view.desired


class Hpa(_Rival):
    """KEDA's CloudWatch scaler under a Kubernetes HPA: rolling maximum of 300 s, tolerance of a tenth.

    The newest point of the last five minutes counts; none reads as 0. An error of CloudWatch itself makes the
    HPA hold.
    """

    STABILIZATION_S = 300
    COLLECTION_MINUTES = 5
    TOLERANCE = 0.1

    def __init__(self) -> None:
        self.asked: deque[tuple[float, int]] = deque()

    def ask(self, view: View) -> int:
        """Recommend, then take the highest recommendation of the stabilization window."""
        if not view.readable:
            return view.desired
        value = view.newest(self.COLLECTION_MINUTES) or 0.0
        asked = view.clamp(ceil(value))
        if view.desired and abs(value / view.desired - 1) <= self.TOLERANCE:
            asked = view.desired
        self.asked.append((view.at_s, asked))
        while self.asked[0][0] < view.at_s - self.STABILIZATION_S:
            self.asked.popleft()
        return max(recommended for _, recommended in self.asked)


class Buildkite(_Rival):
    """Scheduled + running, as buildkite-agent-scaler does; holds when its source is unknown.

    Both ways, or as its stack is run: out only, and instances that end themselves after 600 s without a job.
    """

    IDLE_S = 600.0

    def __init__(self, *, out_only: bool) -> None:
        self.out_only = out_only
        self.idle_timeout_s = self.IDLE_S if out_only else None

    def ask(self, view: View) -> int:
        """Follow the backlog exactly."""
        if view.uploaded is None or view.processing is None:
            return view.desired
        asked = view.clamp(view.uploaded + view.processing)
        return max(asked, view.desired) if self.out_only else asked


class TargetTracking(_Rival):
    """AWS's backlog per instance with a target of 1: out after 3 high minutes, in after 15 low ones.

    Low is under nine tenths of the target, as AWS draws its alarm. A missing minute changes nothing.
    """

    HIGH_MINUTES = 3
    LOW_MINUTES = 15
    LOW = 0.9

    def __init__(self) -> None:
        self.per_instance: deque[float | None] = deque(maxlen=self.LOW_MINUTES)

    def ask(self, view: View) -> int:
        """Track the backlog that each instance in service has."""
        backlog = view.newest(3)
        self.per_instance.append(None if backlog is None else backlog / max(view.in_service, 1))
        if backlog is None:
            return view.desired
        known = [value for value in self.per_instance if value is not None]
        target = view.clamp(ceil(backlog))
        newest = list(self.per_instance)[-self.HIGH_MINUTES :]
        if len(newest) == self.HIGH_MINUTES and all(value is not None and value > 1 for value in newest):
            return max(target, view.desired)
        if len(known) == self.LOW_MINUTES and all(value < self.LOW for value in known):
            return min(target, view.desired)
        return view.desired


class Constant(_Rival):
    """Never changes: with the maximum, what no policy can drain faster than."""

    def ask(self, view: View) -> int:
        """Give the maximum whatever happens."""
        return view.high


RECLAIM = "video-reclaim"
IDLE_AGENTS = "buildkite, idle agents end"
MAXIMUM = "always the maximum"
MAKERS: dict[str, Callable[[], ScalingPolicy]] = {
    RECLAIM: Reclaim,
    "platform, as deployed": lambda: Platform(holds_messages=False),
    "platform, messages held": lambda: Platform(holds_messages=True),
    "KEDA/HPA": Hpa,
    "buildkite, both ways": lambda: Buildkite(out_only=False),
    IDLE_AGENTS: lambda: Buildkite(out_only=True),
    "target tracking": TargetTracking,
    MAXIMUM: Constant,
}
"""The contenders by name, made afresh by a call."""
