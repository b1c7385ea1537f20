"""How many workers the backlog asks for, and whether the fleet may be brought there now.

``decide`` is a pure function of one record. Its rules, in this order:

1. **Override.** ``fixed`` is obeyed, within the group's limits; the other modes withhold changes. An
   override that can't be read or understood withholds scale-in.
2. **Unknown.** Without the group, or without the database and any waiting message: hold.
3. **Want.** ceil(backlog / videos per worker) less the draining instances, but not more than one worker for
   each waiting video above what there is: a row in PROCESSING never starts a worker. While the database is
   unknown, messages that wait say that every worker in service is busy: those, and one for each message.
4. **Out** at once, by at most ``max_step_out``.
5. **In** while the database is known, and in a group where a busy instance would not survive only while
   nothing is waiting or at work. Down to the short window's peak and ``spare`` workers at once; the spare
   goes when the long window did not need it.

**Windows.** A run may start anywhere within its minute (EventBridge Scheduler, "Schedule types": 60 second
precision), so a calendar minute without a point is ordinary. A hole is more adjacent absent minutes than lie
between two measurements: two, where a run starts every minute. With a hole in the long window nothing is
scaled in. The minute of ``at`` may be absent: what was measured now stands for it.

**Draining instances** were chosen by a scale-in and finish their encode under a termination lifecycle hook.
Their rows are in the backlog, but they no longer count towards desired: each takes one off what is wanted.

**Outside its limits** (its maximum was lowered, say) a group mends itself: a hold gives the nearest limit
and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from typing import Literal, NamedTuple

Action = Literal["scale-out", "scale-in", "hold"]
Mode = Literal["hold", "fixed", "no-scale-in", "no-scale-out"]


@dataclass(frozen=True, slots=True)
class Group:
    """The Auto Scaling group as it is now.

    Attributes:
        min, max, desired: Its live limits and its desired capacity.
        in_service: Instances in service.
        draining: Instances in Terminating:Wait.
        spares_busy: A busy instance survives a scale-in, through protection or a termination lifecycle hook.
    """

    min: int
    max: int
    desired: int
    in_service: int
    draining: int = 0
    spares_busy: bool = False

    def clamp(self, workers: float) -> int:
        """Bring a number of workers within the limits."""
        return int(min(max(workers, self.min), self.max))


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's order, in force before ``until``; ``desired`` for mode ``fixed`` only."""

    mode: Mode
    until: datetime
    desired: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the decision.

    Attributes:
        videos_per_worker: Videos that one worker encodes at a time.
        spare: Workers kept above the short window's peak until the long window did not need them.
        short_minutes, long_minutes: The two windows; each at least twice ``every_minutes``.
        every_minutes: How far apart measurements are.
        max_step_out: Most workers added at once; None: no cap.
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
        uploaded, processing: Rows, from the database.
        visible: Messages waiting in the queue.
        minutes: BacklogCount as read back, one maximum a calendar minute, newest first, beginning with the
            minute of ``at``; None where there is no point. Empty: it could not be read.
        override_unclear: An override could not be read or understood.
    """

    at: datetime
    uploaded: int | None
    processing: int | None
    visible: int | None
    minutes: tuple[float | None, ...]
    group: Group | None
    override: Override | None = None
    override_unclear: bool = False
    policy: Policy = field(default_factory=Policy)


class Decision(NamedTuple):
    """What to do, the capacity to have (None: group unknown), whether a change was withheld, and why."""

    action: Action
    desired: int | None
    held: bool
    reason: str


def decide(inputs: Inputs) -> Decision:
    """Apply the rules of the module. Never raises for inputs that could be constructed."""
    group, order = inputs.group, inputs.override
    if group is None:
        return Decision("hold", None, True, "The group is unknown.")
    stay = group.clamp(group.desired)
    desired, held, reason = _size(inputs, group, stay)
    action: Action = "hold" if desired == stay else "scale-out" if desired > stay else "scale-in"
    if order is not None and inputs.at < order.until:
        if order.mode == "fixed" and order.desired is not None:
            fixed = group.clamp(order.desired)
            action = (
                "hold" if fixed == group.desired else "scale-out" if fixed > group.desired else "scale-in"
            )
            return Decision(action, fixed, False, f"Override: fixed at {fixed}.")
        if action != "hold" and order.mode in ("hold", f"no-{action}"):
            return Decision("hold", stay, True, f"Override {order.mode} withholds {action} to {desired}.")
    if inputs.override_unclear and action == "scale-in":
        return Decision("hold", stay, True, f"An unclear override might forbid scale-in to {desired}.")
    return Decision(action, desired, held, reason)


def _size(inputs: Inputs, group: Group, stay: int) -> tuple[int, bool, str]:
    """Give the capacity as if there were no override, whether a change is withheld, and why."""
    policy, uploaded, processing, visible = inputs.policy, inputs.uploaded, inputs.processing, inputs.visible
    if uploaded is None or processing is None:
        waiting = ceil((visible or 0) / policy.videos_per_worker)
        want = max(stay, group.clamp(group.in_service + waiting) if waiting else stay)
        return (
            _capped(want, stay, policy),
            want == stay,
            f"The database is unknown; {waiting} workers' videos wait.",
        )
    backlog = uploaded + processing
    useful = max(stay, group.in_service) + ceil(uploaded / policy.videos_per_worker)
    want = min(_workers(backlog, inputs, group), group.clamp(useful))
    if want >= stay:
        return _capped(want, stay, policy), False, f"{uploaded} waiting, {processing} at work: {want} wanted."
    if not group.spares_busy and (backlog or visible != 0):
        return stay, True, "Not in: the group would choose its victim blindly."
    window = inputs.minutes[: policy.long_minutes + 1]
    if len(window) <= policy.long_minutes or _has_hole(window[1:], policy.every_minutes):
        return stay, True, f"Not in: the last {policy.long_minutes} minutes are not known."
    short, long = _peak(window[: policy.short_minutes + 1], backlog), _peak(window, backlog)
    keep = min(_workers(short, inputs, group, policy.spare), _workers(long, inputs, group))
    peaks = f"{short:g} within {policy.short_minutes} min, {long:g} within {policy.long_minutes} min"
    return (stay, True, f"Not in: {peaks}.") if keep >= stay else (keep, False, f"In: {peaks}.")


def _workers(videos: float, inputs: Inputs, group: Group, spare: int = 0) -> int:
    """Give the workers for so many videos, those that drain not counted, within the limits."""
    return group.clamp(ceil(videos / inputs.policy.videos_per_worker) + spare - group.draining)


def _capped(want: int, stay: int, policy: Policy) -> int:
    return want if policy.max_step_out is None else min(want, stay + policy.max_step_out)


def _has_hole(minutes: tuple[float | None, ...], every: int) -> bool:
    """Tell whether more than ``every`` adjacent minutes are absent."""
    absent = 0
    for value in minutes:
        absent = 0 if value is not None else absent + 1
        if absent > every:
            return True
    return False


def _peak(minutes: tuple[float | None, ...], now: float) -> float:
    return max(now, max((value for value in minutes if value is not None), default=0.0))
