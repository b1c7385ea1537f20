"""How many workers the backlog asks for, and whether the fleet may be brought there now.

``decide`` is a pure function of one record. Its rules, in this order:

1. **Override.** ``fixed`` is obeyed as it stands, within the group's limits; the other modes withhold changes. An
   override that can't be read or understood withholds scale-in.
2. **Unknown.** Without the group, or without any backlog: hold.
3. **Want.** ceil(backlog / videos per worker) less the draining instances, within the limits. The backlog is the
   database's; the queue's only while the database is unknown, and then it only raises.
4. **Out** at once, by at most ``max_step_out``.
5. **In** when every source is known, and in a group where a busy instance would not survive only while nothing is
   waiting or at work. Down to the short window's peak and ``spare`` workers at once; the spare goes when the long
   window did not need it.

**Windows.** A run may start anywhere within its minute, so a calendar minute without a point is ordinary. A hole is
more adjacent absent minutes than there are between two measurements: two, where a run starts every minute. What was
needed during a hole is unknown: with one in the short window nothing is scaled in, with one in the long window the
spare stays.

**Draining instances** have been chosen by a scale-in and finish their encode: their rows are in the backlog, but they
no longer count towards desired. So each takes one off what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil, inf
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Group:
    """The Auto Scaling group as it is now.

    Attributes:
        min, max, desired: Its live limits and its desired capacity.
        draining: Instances that a termination lifecycle hook keeps until their encode is done.
        spares_busy: A busy instance survives a scale-in, through protection or a hook.
    """

    min: int
    max: int
    desired: int
    draining: int = 0
    spares_busy: bool = False

    def clamp(self, workers: float) -> int:
        """Bring a number of workers within the limits."""
        return int(min(max(workers, self.min), self.max))


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's order, in force before ``until``."""

    mode: Literal["hold", "fixed", "no-scale-in", "no-scale-out"]
    desired: int | None
    until: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the decision.

    Attributes:
        spare: Workers kept beyond the short window's peak until the long window has passed.
        short_minutes, long_minutes: The two windows.
        every_minutes: How far apart measurements are.
    """

    videos_per_worker: int = 1
    spare: int = 1
    short_minutes: int = 2
    long_minutes: int = 20
    every_minutes: int = 1
    max_step_out: int | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a decision depends on; None is unknown.

    Attributes:
        uploaded, processing: From the database.
        queued: Messages visible, in flight and delayed.
        minutes: BacklogCount as read back, one maximum a calendar minute, newest first, beginning with the minute of
            ``at``; None where there is no point. Empty: it could not be read.
        override_unclear: The override could not be read or understood.
    """

    at: datetime
    uploaded: int | None
    processing: int | None
    queued: int | None
    minutes: tuple[float | None, ...]
    group: Group | None
    override: Override | None = None
    override_unclear: bool = False
    policy: Policy = field(default_factory=Policy)

    @property
    def backlog(self) -> int | None:
        """Videos waiting or at work, as the database has them."""
        return None if self.uploaded is None or self.processing is None else self.uploaded + self.processing


class Decision(NamedTuple):
    """The capacity to have, None if the group is unknown; whether a change was withheld; and why."""

    desired: int | None
    held: bool
    reason: str


def decide(inputs: Inputs) -> Decision:
    """Apply the rules of the module. Never raises for inputs that could be constructed."""
    group, order = inputs.group, inputs.override
    if group is None:
        return Decision(None, True, "The group is unknown.")
    desired, held, reason = _size(inputs, group)
    if order is not None and inputs.at < order.until:
        if order.mode == "fixed" and order.desired is not None:
            return Decision(group.clamp(order.desired), False, f"Override: fixed at {order.desired}.")
        out, into = desired > group.desired, desired < group.desired
        if (out and order.mode in ("hold", "no-scale-out")) or (into and order.mode in ("hold", "no-scale-in")):
            return Decision(group.desired, True, f"Override: {order.mode}. {reason}")
    if inputs.override_unclear and desired < group.desired:
        return Decision(group.desired, True, "The override could not be understood and might forbid a scale-in.")
    return Decision(desired, held, reason)


def _size(inputs: Inputs, group: Group) -> tuple[int, bool, str]:
    """Give the capacity without an override, whether a change is withheld, and why."""
    backlog, queued, policy = inputs.backlog, inputs.queued, inputs.policy
    demand = queued if backlog is None else backlog
    if demand is None:
        return group.desired, True, "Nothing is known of the backlog."
    want = _workers(demand, group, policy)
    if want >= group.desired:
        step = inf if policy.max_step_out is None else policy.max_step_out
        return group.clamp(min(want, group.desired + step)), False, f"{want} wanted."
    if backlog is None or queued is None:
        return group.desired, True, "Not in: a source is unknown."
    if not group.spares_busy and (backlog or queued):
        return group.desired, True, "Not in: the group would choose its victim blindly."
    short = _peak(backlog, inputs.minutes, policy.short_minutes, policy.every_minutes)
    long = _peak(backlog, inputs.minutes, policy.long_minutes, policy.every_minutes)
    keep = min(_workers(short, group, policy, policy.spare), _workers(long, group, policy))
    if keep >= group.desired:
        return group.desired, True, f"Not in: up to {keep} were wanted a moment ago, or a window has a hole."
    return keep, False, f"In to {keep}."


def _workers(videos: float, group: Group, policy: Policy, spare: int = 0) -> int:
    if videos == inf:
        return group.max
    return group.clamp(ceil(videos / policy.videos_per_worker) + spare - group.draining)


def _peak(now: float, minutes: tuple[float | None, ...], count: int, every: int) -> float:
    """Give the highest value of the minute of ``at`` and ``count`` before it; infinite with a hole."""
    if len(minutes) <= count:
        return inf
    highest, absent = now, 0
    for value in minutes[1 : count + 1]:
        if value is None:
            absent += 1
            if absent > every:
                return inf
        else:
            absent = 0
            if value > highest:
                highest = value
    return max(highest, minutes[0] or 0.0)
