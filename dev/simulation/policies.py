"""The scaling policies that are compared: each sees a view once a minute and asks for a capacity.

Every rival gets the best case of its kind: one decision a minute like ours, and the backlog from the database.
docs/scaling.md has their sources.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Group, Inputs, Point, Scaling
from video_reclaim.scaling.window import last_known

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
DEFAULT = Scaling("apply", 1, 1, 120, 1200, "")
"""The defaults of a stage."""

Points = dict[int, Point]
"""By minute of the trace; a minute that is absent has no point."""


def point_of(minute: int, value: float) -> Point:
    """Make the point of a minute, counted from ``EPOCH``."""
    return Point(EPOCH + timedelta(minutes=minute), value)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy can see at one run; None where a source cannot be read.

    Attributes:
        points: BacklogCount, as far as it can be read back by now; ``wanted`` is that of DesiredWorkers,
            ``depths`` that of the queue.
        readable: whether CloudWatch can be read.
    """

    group: Group
    points: Points
    wanted: Points
    depths: Points
    at_s: float = 0.0
    uploaded: int | None = None
    processing: int | None = None
    held_by_draining: int = 0
    visible: int | None = None
    readable: bool = True

    @property
    def minute(self) -> int:
        """The present minute of the trace."""
        return int(self.at_s // 60)

    def back(self, points: Points, minutes: int) -> tuple[Point, ...]:
        """Give the points of the last minutes that can be read."""
        since = range(self.minute - minutes, self.minute + 1) if self.readable else ()
        return tuple(points[minute] for minute in since if minute in points)


ScalingPolicy = Callable[[Observation], int]
"""Gives the capacity to set; the group's present one to change nothing."""


def reclaim(view: Observation, settings: Scaling = DEFAULT) -> int:
    """Put the view into a record and decide as this project does."""
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
            window=view.back(view.points, settings.scale_in_window_seconds // 60),
            group=view.group,
            settings=settings,
            measured_every_s=60,
            held_by_draining=view.held_by_draining,
            last_known=last,
        )
    )
    return view.group.desired if decision.desired is None else decision.desired


def buildkite(view: Observation) -> int:
    """Follow scheduled + running, as buildkite-agent-scaler does; hold when they are unknown."""
    if view.uploaded is None or view.processing is None:
        return view.group.desired
    return view.group.clamp(view.uploaded + view.processing)


def always_maximum(view: Observation) -> int:
    """Never change: what no policy can drain faster than."""
    return view.group.max


class PlatformPolicy:
    """The platform's former policy: min(visible, 5), to the minimum after 1,200 s of nothing; an error is nothing."""

    STEP, EMPTY_S = 5, 1200

    def __init__(self) -> None:
        self.zero_since_s: float | None = None

    def __call__(self, view: Observation) -> int:
        """Follow the queue alone."""
        if view.visible:
            self.zero_since_s = None
            return view.group.clamp(min(view.visible, self.STEP))
        if self.zero_since_s is None:
            self.zero_since_s = view.at_s
        return view.group.min if view.at_s - self.zero_since_s >= self.EMPTY_S else view.group.desired


RECLAIM = "video-reclaim"
BUILDKITE = "buildkite, both ways"
PLATFORM = "platform, as deployed"
MAXIMUM = "always the maximum"
MAKERS: dict[str, Callable[[], ScalingPolicy]] = {
    RECLAIM: lambda: reclaim,
    BUILDKITE: lambda: buildkite,
    PLATFORM: PlatformPolicy,
    MAXIMUM: lambda: always_maximum,
}
"""The contenders by name, made afresh by a call, since some have a memory."""
