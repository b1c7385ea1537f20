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
    """The maximum of a metric over the minute that starts ``at``; one that is no count is no point."""

    at: Time
    value: float


class Group(msgspec.Struct, frozen=True, rename="camel"):
    """The Auto Scaling group as it is now, with its live limits.

    Attributes:
        safety: what becomes of a busy instance at a scale-in. ``protected``: it can't be chosen. ``hooked``: a
            termination lifecycle hook lets it finish first. ``unprotected``: it is ended.
        draining: ids of the instances that are leaving; they no longer count towards the desired capacity.
    """

    min: Count
    max: Count
    desired: Count
    in_service: Count
    safety: Safety
    draining: tuple[str, ...] = ()

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


class Scaling(msgspec.Struct, frozen=True, rename="camel"):
    """How the worker group follows the backlog: the section of a stage (see the table of settings in docs/)."""

    mode: Literal["apply", "advise"]
    videos_per_worker: Positive
    spare_workers: Count
    peak_window_seconds: Minutes
    scale_in_window_seconds: Minutes
    override_parameter: str
    max_step_out: Positive | None = None


class LastKnown(msgspec.Struct, frozen=True, rename="camel"):
    """What was last published, while the database is unknown: with the backlog, and the most messages since.

    ``backlog`` has what draining instances held, too; ``desired`` is None if nothing was decided then.
    """

    backlog: float
    desired: float | None
    visible: float
    peak_visible: float


class Inputs(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that a decision depends on. None is unknown, which is never 0.

    Attributes:
        visible: messages waiting in the video queue, deletions among them.
        window: maxima of BacklogCount, read back; in any order, with gaps.
        group: None also for one that can't be reasoned about; ``group_problem`` says why.
        held_by_draining: how many of ``processing`` were claimed by instances that drain.
        stranded: how many of the others have no tenant, and so can never be put back.
        last_known: None while the database is known, or if nothing was published before.
        override: the operator's order, expired or not; ``override_problem`` says why it could not be read.
        shrink_problem: why the group must not shrink now.
    """

    at: Time
    uploaded: int | None
    processing: int | None
    visible: int | None
    window: tuple[Point, ...]
    group: Group | None
    settings: Scaling
    measured_every_s: Minutes
    held_by_draining: Count = 0
    stranded: Count = 0
    last_known: LastKnown | None = None
    override: Override | None = None
    group_problem: str | None = None
    override_problem: str | None = None
    shrink_problem: str | None = None


class Decision(msgspec.Struct, frozen=True, rename="camel"):
    """What to do with the group, and why.

    Attributes:
        desired: number of workers to have, within the live limits; None only when the group is unknown.
        reason: a few sentences for people, with every number that decided.
        held: an order or something unknown withheld a change. Waiting for a window or a busy worker is not held.
    """

    action: Action
    desired: int | None
    reason: str
    held: bool
    inputs: Inputs
