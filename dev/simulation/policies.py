"""The scaling policies that are compared: each sees a view once a minute and asks for a capacity.

Every rival gets the best case of its kind: one decision a minute like ours, and the backlog from the database. From:

- The platform's ``infra/worker_asg/queue_depth_lambda/lambda_function.py`` (``set_video_worker_desired``).
- kedacore/keda ``pkg/scalers/aws_cloudwatch_scaler.go`` (``metricCollectionTime`` 300; without data it gives
  ``minMetricValue``, here 0, since ``ignoreNullValues`` is true by default: keda#5873); Kubernetes:
  "Horizontal Pod Autoscaling" (tolerance 0.1, scale-down stabilization 300 s).
- buildkite/buildkite-agent-scaler ``scaler/scaling_calculator.go`` (scheduled + running, holds on metrics
  older than two minutes) and its README, "Gracefully scaling in" (``DISABLE_SCALE_IN``, agents that
  disconnect when idle); buildkite/elastic-ci-stack-for-aws: ``ScaleInIdlePeriod`` 600.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Protocol

from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Group, Inputs, Point, Safety, Scaling
from video_reclaim.scaling.window import last_known

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
    """What a policy can see at one run; None where a source cannot be read. Filled again for each run.

    Attributes:
        points: BacklogCount by minute, as far as it can be read back by now; ``wanted`` is
            that of DesiredWorkers, ``depths`` that of the queue.
        minute: the index of the present minute in all.
        readable: whether CloudWatch can be read.
        low, high: the group's limits.
    """

    at_s: float = 0.0
    uploaded: int | None = None
    processing: int | None = None
    held_by_draining: int = 0
    visible: int | None = None
    points: list[Point | None] = field(default_factory=list)
    wanted: list[Point | None] = field(default_factory=list)
    depths: list[Point | None] = field(default_factory=list)
    minute: int = 0
    readable: bool = True
    desired: int = 0
    in_service: int = 0
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

    def back(self, points: list[Point | None], minutes: int) -> tuple[Point, ...]:
        """Give the points of the last minutes that can be read."""
        found = points[max(self.minute - minutes, 0) : self.minute + 1] if self.readable else []
        return tuple(filter(None, found))


class ScalingPolicy(Protocol):
    """One contender; made anew for each run, since most have a memory.

    Its workers end themselves after ``idle_timeout_s`` without a message, and take desired down by one.
    """

    idle_timeout_s: float | None

    def ask(self, view: View) -> int:
        """Give the capacity to set; the group's present one to change nothing."""
        ...


class _Rival:
    idle_timeout_s: float | None = None


class Reclaim(_Rival):
    """This project's decision."""

    def __init__(self, settings: Scaling = DEFAULT) -> None:
        self.settings = settings

    def ask(self, view: View) -> int:
        """Put the view into a record and decide."""
        last = None
        if view.uploaded is None:
            backlog, wanted, depth = (view.back(one, 360) for one in (view.points, view.wanted, view.depths))
            last = last_known(backlog, wanted, depth, view.visible)
        decision = decide(
            Inputs(
                at=EPOCH + timedelta(minutes=view.minute),
                uploaded=view.uploaded,
                processing=view.processing,
                visible=view.visible,
                # At its minimum nothing can be scaled in, so that most records need no window.
                window=view.back(view.points, self.settings.scale_in_window_seconds // 60)
                if view.desired > view.low
                else (),
                group=Group(view.low, view.high, view.desired, view.in_service, view.safety),
                settings=self.settings,
                measured_every_s=60,
                held_by_draining=view.held_by_draining,
                last_known=last,
            )
        )
        return view.desired if decision.desired is None else decision.desired


class Meanwhile(Reclaim):
    """The same, with another number of workers beside the messages while the database is unknown."""

    def __init__(self, beside: Callable[[View], int]) -> None:
        super().__init__()
        self.beside = beside

    def ask(self, view: View) -> int:
        """Give a worker for each message, beside the others."""
        if view.uploaded is not None:
            return super().ask(view)
        waiting = view.visible or 0
        return max(view.desired, view.clamp(self.beside(view) + waiting)) if waiting else view.desired


class Platform(_Rival):
    """The platform's former policy: min(visible, 5), to the minimum after 1,200 s of nothing; an error is nothing."""

    STEP, EMPTY_S = 5, 1200

    def __init__(self) -> None:
        self.zero_since_s: float | None = None

    def ask(self, view: View) -> int:
        """Apply it to the queue alone."""
        if view.visible:
            self.zero_since_s = None
            return view.clamp(min(view.visible, self.STEP))
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
    "buildkite, both ways": lambda: Buildkite(out_only=False),
    IDLE_AGENTS: lambda: Buildkite(out_only=True),
    "KEDA/HPA": Hpa,
    "platform, as deployed": Platform,
    MAXIMUM: Constant,
}
BLIND: dict[str, Callable[[], ScalingPolicy]] = {
    RECLAIM: Reclaim,
    "in service + messages (former)": lambda: Meanwhile(lambda view: view.in_service),
    "min(last backlog, in service) + messages": lambda: Meanwhile(
        lambda view: min(ceil(view.newest(360) or 0), view.in_service)
    ),
    "buildkite: hold": lambda: Buildkite(out_only=False),
}
"""The contenders by name, made afresh by a call; and those that are compared while the database is away."""
