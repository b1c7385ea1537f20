"""The records of the scaling decision: what it depends on, and what it answers.

Their JSON form (camel case) is part of an execution's output, so that any decision can be made again.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Action = Literal["scale-out", "scale-in", "hold"]
Mode = Literal["hold", "fixed", "no-scale-in", "no-scale-out"]
Safety = Literal["protected", "hooked", "unprotected"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Minutes = Annotated[int, msgspec.Meta(ge=60, multiple_of=60)]


class Point(msgspec.Struct, frozen=True):
    """The maximum of a metric over one minute.

    Attributes:
        at: start of the minute.
        value: the maximum; a negative value or one that is not finite counts as no point.
    """

    at: Time
    value: float


class Group(msgspec.Struct, frozen=True, rename="camel"):
    """The Auto Scaling group as it is now.

    Attributes:
        min: live minimum size.
        max: live maximum size.
        desired: desired capacity.
        in_service: number of instances in service.
        safety: what becomes of a busy instance at a scale-in. ``protected``: it can't be chosen. ``hooked``: a
            termination lifecycle hook lets it finish first. ``unprotected``: it is ended.
        draining: number of instances that were chosen and wait for that hook. They no longer count towards
            the desired capacity.

    Raises:
        ValueError: ``min`` is greater than ``max``.
    """

    min: Count
    max: Count
    desired: Count
    in_service: Count
    safety: Safety
    draining: Count = 0

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}")

    def clamp(self, workers: int) -> int:
        """Bring a number of workers within the live limits."""
        return min(max(workers, self.min), self.max)


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's order, in the form of the SSM parameter.

    Attributes:
        mode: ``hold`` changes nothing, ``fixed`` keeps ``desired`` workers, ``no-scale-in`` and
            ``no-scale-out`` forbid one direction.
        desired: for ``fixed``, the number of workers; brought within the live limits.
        until: the order is in force before this time.
        reason: why, for the reader of the decision.
    """

    mode: Mode
    until: Time
    desired: Count | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.mode == "fixed" and self.desired is None:
            raise ValueError("mode fixed needs desired, a number of workers")


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """The settings of the decision.

    Attributes:
        videos_per_worker: videos that one worker encodes at a time.
        spare_workers: workers kept above the peak of the short window, until the long one did not need them.
        peak_window_s: the short window, seconds; the workers of its peak stay.
        scale_in_window_s: the long window, seconds; at least twice ``measured_every_s``, since a window that
            needs no point would prove nothing.
        measured_every_s: time between two measurements, seconds.
        max_step_out: most workers that are added at once; None for no limit.
    """

    videos_per_worker: Positive
    spare_workers: Count
    peak_window_s: Minutes
    scale_in_window_s: Minutes
    measured_every_s: Minutes
    max_step_out: Positive | None = None

    def __post_init__(self) -> None:
        least = max(2 * self.measured_every_s, self.peak_window_s)
        if self.scale_in_window_s < least:
            raise ValueError(f"scaleInWindowS must be at least {least}")


class Inputs(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that a decision depends on. None is unknown, which is never 0.

    Attributes:
        at: time of the decision.
        uploaded: videos waiting, from the database.
        processing: videos being encoded, from the database.
        visible: messages waiting in the video queue, deletions among them.
        in_flight: messages of the video queue that were received and not yet deleted. No rule uses them; they
            are recorded for comparison with the platform's former policy.
        window: maxima of BacklogCount, read back; in any order, with gaps.
        group: the worker group; None also for one that can't be reasoned about.
        policy: the settings.
        override: the operator's order, expired or not; None when there is none.
        group_problem: why the group is unknown.
        override_problem: why the parameter of the order could not be read or understood.
    """

    at: Time
    uploaded: int | None
    processing: int | None
    visible: int | None
    in_flight: int | None
    window: tuple[Point, ...]
    group: Group | None
    policy: Policy
    override: Override | None = None
    group_problem: str | None = None
    override_problem: str | None = None


class Decision(msgspec.Struct, frozen=True, rename="camel"):
    """What to do with the group, and why.

    Attributes:
        action: ``hold`` leaves the group alone.
        desired: number of workers to have, within the live limits; None only when the group is unknown.
        reason: one or two sentences for people.
        held: a change was wanted and withheld, or nothing could be known.
        inputs: what the decision was based on.
    """

    action: Action
    desired: int | None
    reason: str
    held: bool
    inputs: Inputs
