"""How many workers the backlog asks for, and whether the group may be brought there now (docs/scaling.md)."""

from math import ceil

from video_reclaim.scaling.records import Action, Decision, Group, Inputs, Override
from video_reclaim.scaling.window import by_minute, has_hole, peak

_Size = tuple[int, bool, str]
"""A capacity, whether a change is withheld, and why."""


def decide(inputs: Inputs) -> Decision:
    """Apply the rules to one record of inputs. The same inputs always give the same decision.

    A group outside its own limits, because its maximum was lowered for example, is left to Auto Scaling: ``desired``
    lies within the limits, but a hold stays a hold.
    """
    group, order = inputs.group, inputs.override
    if group is None:
        return Decision("hold", None, f"The group is unknown: {inputs.group_problem}.", True, inputs)
    order = order if order is not None and inputs.at < order.until else None
    if order is not None and order.mode == "fixed" and order.desired is not None:
        fixed = group.clamp(order.desired)
        at_risk = fixed < group.desired and group.safety == "unprotected" and inputs.processing != 0
        risk = " Busy workers may be ended." if at_risk else ""
        reason = f"{_says(order)}: fixed at {order.desired}; {_place(group)}.{risk}"
        return Decision(_action(fixed, group.desired), fixed, reason, False, inputs)
    stay = group.clamp(group.desired)
    if inputs.uploaded is None or inputs.processing is None:
        desired, held, reason = _blind(inputs, group, stay)
    else:
        desired, held, reason = _known(inputs, group, stay, inputs.uploaded, inputs.processing)
    action = _action(desired, stay)
    if why := _forbidden(inputs, order, action):
        return Decision("hold", stay, f"{why} {action} to {desired}. {reason}", True, inputs)
    return Decision(action, desired, reason, held, inputs)


def idle_while_waiting(inputs: Inputs) -> int | None:
    """Return how many instances in service could take a waiting video and don't; None if that is unknown.

    During a boot that is ordinary. Where it lasts, no worker came up on them.
    """
    if inputs.group is None or inputs.uploaded is None or inputs.processing is None:
        return None
    idle = inputs.group.in_service - _workers(_at_work(inputs, inputs.processing), inputs)
    return min(_workers(inputs.uploaded, inputs), max(idle, 0))


def waiting_at_maximum(inputs: Inputs) -> int | None:
    """Return how many videos wait although the group is at its maximum; None if that is unknown."""
    if inputs.group is None or inputs.uploaded is None:
        return None
    return inputs.uploaded if inputs.group.desired >= inputs.group.max else 0


def _forbidden(inputs: Inputs, order: Override | None, action: Action) -> str | None:
    """Return what forbids the action although the backlog asks for it."""
    if action != "hold" and order is not None and order.mode in ("hold", f"no-{action}"):
        return f"{_says(order)}: {order.mode} forbids"
    if action == "scale-in" and inputs.override_problem is not None:
        return f"The override is unclear ({inputs.override_problem}) and may forbid"
    if action == "scale-in" and inputs.shrink_problem is not None:
        return f"The state of the group ({inputs.shrink_problem}) forbids"
    return None


def _blind(inputs: Inputs, group: Group, stay: int) -> _Size:
    """Return the size while the database is unknown: never a smaller one.

    Nothing that growth itself changes takes part in what is wanted. So instances that come up and find no work,
    because the database is away for them too, ask for no more of their kind. No more than three times the instances in
    service at once: the messages may be deletions, which the first ones take within a minute.
    """
    settings, last, visible = inputs.settings, inputs.last_known, inputs.visible
    if not visible:
        known = "unknown" if visible is None else 0
        return (stay, True, f"The database is unknown, messages waiting: {known}; {_place(group)}.")
    backlog, rise = (last.backlog, max(last.peak_visible - last.visible, 0)) if last else (0, visible)
    before = _workers(backlog, inputs)
    if last is not None and last.desired is not None:  # the backlog has what draining instances held, too
        before = min(before, ceil(last.desired))
    spare = settings.spare_workers if rise else 0
    asked = max(before + _workers(rise, inputs) + spare, 1)
    want = max(stay, group.clamp(min(asked, max(3 * group.in_service, 1))))
    reason = (
        f"The database is unknown, messages waiting: {visible}; last known backlog {_number(backlog)}, for which "
        f"{before} were wanted, since then {_number(rise)} more messages; {settings.videos_per_worker} per worker, "
        f"{spare} spare: {asked} wanted, at most three times the {group.in_service} in service; {_place(group)}."
    )
    return _out(inputs, want, stay, reason, held=want == stay)


def _known(inputs: Inputs, group: Group, stay: int, uploaded: int, processing: int) -> _Size:
    """Return the size that the database asks for, as far as the windows allow it."""
    settings, at_work = inputs.settings, _at_work(inputs, processing)
    left_out = processing - at_work
    asked = max(_workers(uploaded + at_work, inputs), 1 if inputs.visible else 0)
    besides = f", {left_out} more at draining instances or without a tenant" if left_out else ""
    messages = {None: "unknown", 0: "no"}.get(inputs.visible, "some")
    reason = (
        f"{uploaded} waiting, {at_work} at work{besides}, messages: {messages}; "
        f"{settings.videos_per_worker} per worker: {asked} wanted; {_place(group)}."
    )
    want = group.clamp(asked)
    if want >= stay:
        return _out(inputs, want, stay, reason, held=False)
    if inputs.visible is None:
        return (stay, True, f"{reason} Not in: the queue is unknown.")
    if group.safety == "unprotected" and (uploaded or processing or inputs.visible):
        return (stay, False, f"{reason} Not in: the group may end a busy instance.")
    values, window_s = by_minute(inputs.window, inputs.at), settings.scale_in_window_seconds
    if group.min == 0:  # an idle instance costs more there than a wait
        window_s = settings.peak_window_seconds
    if has_hole(values, window_s=window_s, measured_every_s=inputs.measured_every_s):
        return (stay, True, f"{reason} Not in: the last {_minutes(window_s)} have a hole.")
    short = peak(values, uploaded + processing, settings.peak_window_seconds) - left_out
    long = peak(values, uploaded + processing, window_s) - left_out
    spared = min(_workers(short, inputs) + settings.spare_workers, _workers(long, inputs))
    keep = group.clamp(max(asked, spared))
    peaks = (
        f"peak {_number(short)} in {_minutes(settings.peak_window_seconds)}, {_number(long)} in {_minutes(window_s)}; "
        f"{settings.spare_workers} spare"
    )
    if keep >= stay:
        return (stay, False, f"{reason} Not in yet: {peaks}.")
    return (keep, False, f"{reason} In to {keep}: {peaks}.")


def _at_work(inputs: Inputs, processing: int) -> int:
    return max(processing - inputs.held_by_draining - inputs.stranded, 0)


def _workers(videos: float, inputs: Inputs) -> int:
    # Whole numbers stay whole: a count may be larger than a float can hold.
    per_worker = inputs.settings.videos_per_worker
    return -(-videos // per_worker) if isinstance(videos, int) else ceil(videos / per_worker)


def _out(inputs: Inputs, want: int, stay: int, reason: str, *, held: bool) -> _Size:
    step = inputs.settings.max_step_out
    if step is not None and want > stay + step:
        return (stay + step, held, f"{reason} Out to {stay + step}: at most {step} at once.")
    return (want, held, f"{reason} Out to {want}." if want > stay else reason)


def _action(desired: int, now: int) -> Action:
    return "hold" if desired == now else "scale-out" if desired > now else "scale-in"


def _place(group: Group) -> str:
    return f"desired {group.desired}, limits {group.min} to {group.max}"


def _minutes(seconds: int) -> str:
    return "1 minute" if seconds == 60 else f"{seconds // 60} minutes"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _says(order: Override) -> str:
    because = f" ({order.reason})" if order.reason else ""
    return f"Override until {order.until.isoformat()}{because}"
