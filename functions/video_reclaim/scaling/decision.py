"""How many workers the backlog asks for, and whether the group may be brought there now.

`decide` is a pure function of one record, so a decision that is found in a record can be made again. The
rules, in this order:

1. **Override.** ``fixed`` is obeyed, within the limits of the group; the other modes forbid changes. An order
   that could not be read or understood forbids scale-in.
2. **Unknown.** Without the group, or without the database and any waiting message, hold.
3. **Want.** The videos of the database divided by the videos per worker, rounded up, without the instances
   that drain: those still work, but no longer count. No more than one worker for each waiting video above the
   workers that there are: a row in PROCESSING starts no worker. The queue is not added, since it also carries
   deletions. While the database is unknown: the workers in service, and one for each waiting message.
4. **Out** at once, by at most ``max_step_out``.
5. **In** while every source is known and the long window has no hole. Down to the peak of the short window and
   the spare at once; the spare goes when the long window did not need it. In a group that would end a busy
   instance, only while nothing waits or is at work.

A group outside its own limits, because its maximum was lowered for example, is left to Auto Scaling: the
``desired`` of a decision lies within the limits, but a hold stays a hold.
"""

from math import ceil
from typing import NamedTuple

from video_reclaim.scaling.records import Action, Decision, Group, Inputs, Override
from video_reclaim.scaling.window import by_minute, has_hole, peak

__all__ = ["decide"]


class _Size(NamedTuple):
    """A capacity, whether a change is withheld, and why."""

    desired: int
    held: bool
    reason: str


def decide(inputs: Inputs) -> Decision:
    """Apply the rules to one record of inputs. The same inputs always give the same decision."""
    group = inputs.group
    if group is None:
        return Decision("hold", None, f"The group is unknown: {inputs.group_problem}.", True, inputs)
    stay = group.clamp(group.desired)
    size = _size(inputs, group, stay)
    action = _action(size.desired, stay)
    order = inputs.override
    if order is not None and inputs.at < order.until:
        if order.mode == "fixed" and order.desired is not None:
            fixed = group.clamp(order.desired)
            at_risk = fixed < group.desired and group.safety == "unprotected" and inputs.processing != 0
            risk = " Busy workers may be ended." if at_risk else ""
            reason = f"{_says(order)}: fixed at {fixed}, desired {group.desired}.{risk}"
            return Decision(_action(fixed, group.desired), fixed, reason, False, inputs)
        if action != "hold" and order.mode in ("hold", f"no-{action}"):
            reason = f"{_says(order)}: {order.mode} forbids {action} to {size.desired}. {size.reason}"
            return Decision("hold", stay, reason, True, inputs)
    if inputs.override_problem is not None and action == "scale-in":
        reason = f"The override is unclear ({inputs.override_problem}) and may forbid this: {size.reason}"
        return Decision("hold", stay, reason, True, inputs)
    return Decision(action, size.desired, size.reason, size.held, inputs)


def _size(inputs: Inputs, group: Group, stay: int) -> _Size:
    """Apply the rules as if there were no override."""
    policy, uploaded, processing = inputs.policy, inputs.uploaded, inputs.processing
    if uploaded is None or processing is None:
        waiting = _workers(inputs.visible or 0, inputs)
        want = max(stay, group.clamp(group.in_service + waiting) if waiting else stay)
        known = "unknown" if inputs.visible is None else inputs.visible
        reason = f"The database is unknown; messages waiting: {known}."
        return _Size(_step(want, stay, inputs), want == stay, reason)
    backlog = uploaded + processing
    least = _workers(uploaded, inputs)  # instances that drain take nothing of what waits
    most = group.clamp(max(stay, group.in_service) + least)
    want = min(group.clamp(max(_workers(backlog, inputs) - group.draining, least)), most)
    reason = f"{uploaded} waiting and {processing} at work ask for {want}, desired {group.desired}."
    if want >= stay:
        return _Size(_step(want, stay, inputs), False, reason)
    if inputs.visible is None:
        return _Size(stay, True, f"{reason} Not in: the queue is unknown.")
    if group.safety == "unprotected" and (backlog or inputs.visible):
        return _Size(stay, True, f"{reason} Not in: the group may end a busy instance.")
    values = by_minute(inputs.window, inputs.at)
    window_s, minutes = policy.scale_in_window_s, policy.scale_in_window_s // 60
    if has_hole(values, window_s=window_s, measured_every_s=policy.measured_every_s):
        return _Size(stay, True, f"{reason} Not in: the last {minutes} minutes have a hole.")
    short, long = peak(values, backlog, policy.peak_window_s), peak(values, backlog, window_s)
    spared = _workers(short, inputs) + policy.spare_workers
    keep = group.clamp(max(min(spared, _workers(long, inputs)) - group.draining, least))
    peaks = f"peak {short:g} in {policy.peak_window_s // 60} minutes, {long:g} in {minutes}"
    if keep >= stay:
        return _Size(stay, True, f"{reason} Not in: {peaks}.")
    return _Size(keep, False, f"{reason} In to {keep}: {peaks}.")


def _workers(videos: float, inputs: Inputs) -> int:
    per_worker = inputs.policy.videos_per_worker
    # Whole numbers stay whole: a count may be larger than a float can hold.
    return -(-videos // per_worker) if isinstance(videos, int) else ceil(videos / per_worker)


def _step(want: int, stay: int, inputs: Inputs) -> int:
    step = inputs.policy.max_step_out
    return want if step is None else min(want, stay + step)


def _action(desired: int, now: int) -> Action:
    return "hold" if desired == now else "scale-out" if desired > now else "scale-in"


def _says(order: Override) -> str:
    because = f" ({order.reason})" if order.reason else ""
    return f"Override until {order.until.isoformat()}{because}"
