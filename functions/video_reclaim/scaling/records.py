"""The records of the scaling decision: what it depends on, and what it answers.

Their JSON form (camel case) is part of an execution's output, so that any decision can be made again.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

Action = Literal["scale-out", "scale-in", "hold"]
Mode = Literal["hold", "fixed", "no-scale-in", "no-scale-out"]
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
        protected: instances start protected from scale-in, and a worker removes the protection of its own
            instance only while it is idle; the group can then never choose a busy one.
        unprotected: number of instances in service without protection. When there are more of them than can
            be idle, the group is treated as unprotected.

    Raises:
        ValueError: ``min`` is greater than ``max``.
    """

    min: Count
    max: Count
    desired: Count
    in_service: Count
    protected: bool
    unprotected: Count = 0

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
    reason: str
    desired: Count | None = None

    def __post_init__(self) -> None:
        if self.mode == "fixed" and self.desired is None:
            raise ValueError("mode fixed needs desired, a number of workers")


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """The settings of the decision.

    Attributes:
        videos_per_worker: videos that one worker encodes at a time.
        scale_in_window_s: time for which fewer workers must have been enough before a scale-in, seconds. At
            least twice ``measured_every_s``: the newest point may not be readable yet, and a window that
            needs no point would prove nothing.
        measured_every_s: time between two measurements, seconds.
        max_step_out: most workers that are added at once; None for no limit.
    """

    videos_per_worker: Positive
    scale_in_window_s: Minutes
    measured_every_s: Minutes
    max_step_out: Positive | None = None

    def __post_init__(self) -> None:
        if self.scale_in_window_s < 2 * self.measured_every_s:
            raise ValueError(f"scaleInWindowS must be at least {2 * self.measured_every_s}")


class Inputs(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that a decision depends on. None is unknown, which is never 0.

    Attributes:
        at: time of the decision.
        uploaded: videos waiting, from the database.
        processing: videos being encoded, from the database.
        visible: messages waiting in the video queue.
        in_flight: messages of the video queue that were received and not yet deleted.
        window: maxima of BacklogCount, read back; in any order, with gaps.
        group: the worker group.
        policy: the settings.
        override: the operator's order, expired or not; None when there is none.
        override_problem: what is wrong with an order that could not be understood.
        override_known: false when the parameter could not be read, so that an order against scale-in may
            exist.
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
    override_problem: str | None = None
    override_known: bool = True


class Finding(msgspec.Struct, frozen=True):
    """What one rule found.

    Attributes:
        rule: name of the rule.
        verdict: one sentence.
    """

    rule: str
    verdict: str


class Decision(msgspec.Struct, frozen=True, rename="camel"):
    """What to do with the group, and why.

    Attributes:
        action: ``hold`` leaves the group alone.
        desired: number of workers to have, within the live limits; None only when the group is unknown.
        reason: one sentence for people.
        held: a change was wanted and withheld, or nothing could be known.
        rules: what each rule found, in the order of the rules.
        want: number of workers that the backlog asks for now, within the live limits where the group is
            known; None if the backlog is unknown.
        inputs: what the decision was based on.
    """

    action: Action
    desired: int | None
    reason: str
    held: bool
    rules: tuple[Finding, ...]
    want: int | None
    inputs: Inputs
