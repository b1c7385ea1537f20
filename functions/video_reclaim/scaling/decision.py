"""How many workers the backlog asks for, and whether the group may be brought there now.

`decide` is a pure function of one record, so a decision that is found in a record can be made again. The
rules, in this order:

1. ``override``: an order in force comes first. ``fixed`` is obeyed even where the other rules would keep more
   workers; the other modes only forbid changes.
2. ``backlog``: when nothing is known of the backlog, hold.
3. ``want``: the largest known source divided by the videos per worker, rounded up, within the live limits of
   the group. The sources are the database (UPLOADED + PROCESSING) and the queue (visible + in flight). Half a
   source is still a lower bound.
4. ``scale-out``: when more are wanted, out at once, by at most ``max_step_out``.
5. ``scale-in``: when fewer are wanted, in, but only when every source is known and the window is covered, and
   never below what the busiest minute of the window wanted.

A group outside its own limits, because its maximum was lowered for example, is left to Auto Scaling: the
``desired`` of a decision lies within the limits, but a hold stays a hold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import NamedTuple

from video_reclaim.scaling.records import Action, Decision, Finding, Group, Inputs, Override
from video_reclaim.scaling.window import read_window

__all__ = ["decide"]


class _Backlog(NamedTuple):
    """What is known of the backlog."""

    database: int | None
    queue: int | None
    unknown: str  # names of the unknown readings; empty if all are known
    workers: int | None  # that the largest source asks for, before the limits of the group


class _Outcome(NamedTuple):
    action: Action
    desired: int | None
    held: bool
    reason: str
    out_verdict: str = "Not judged: too little is known."
    in_verdict: str = "Not judged: too little is known."


def decide(inputs: Inputs) -> Decision:
    """Apply the rules to one record of inputs. The same inputs always give the same decision."""
    backlog = _backlog(inputs)
    order, override_verdict = _order_in_force(inputs)
    group = inputs.group
    if group is None:
        want = backlog.workers
        outcome = _Outcome("hold", None, True, "The worker group is unknown: nothing can be changed.")
    else:
        want = None if backlog.workers is None else group.clamp(backlog.workers)
        outcome = _move(inputs, group, backlog, want)
        if order is not None:
            outcome = _obey(order, group, inputs, outcome)
    known = f"Unknown: {backlog.unknown}." if backlog.unknown else "Every source is known."
    findings = {
        "override": override_verdict,
        "backlog": f"{known} Nothing is known of the backlog." if backlog.workers is None else known,
        "want": _explain_want(inputs, backlog),
        "scale-out": outcome.out_verdict,
        "scale-in": outcome.in_verdict,
    }
    return Decision(
        action=outcome.action,
        desired=outcome.desired,
        reason=outcome.reason,
        held=outcome.held,
        rules=tuple(Finding(rule, verdict) for rule, verdict in findings.items()),
        want=want,
        inputs=inputs,
    )


def _backlog(inputs: Inputs) -> _Backlog:
    readings = {
        "UPLOADED": inputs.uploaded,
        "PROCESSING": inputs.processing,
        "visible": inputs.visible,
        "in flight": inputs.in_flight,
    }
    database = _known_sum(inputs.uploaded, inputs.processing)
    queue = _known_sum(inputs.visible, inputs.in_flight)
    known = [source for source in (database, queue) if source is not None]
    return _Backlog(
        database=database,
        queue=queue,
        unknown=", ".join(name for name, value in readings.items() if value is None),
        workers=-(-max(known) // inputs.policy.videos_per_worker) if known else None,
    )


def _explain_want(inputs: Inputs, backlog: _Backlog) -> str:
    if backlog.workers is None:
        return "Not known."
    group, limits = inputs.group, ""
    if group is not None:
        limits = f", within the group's {group.min} to {group.max}: {group.clamp(backlog.workers)}"
    return (
        f"Database {_or_unknown(backlog.database)}, queue {_or_unknown(backlog.queue)}, "
        f"at {inputs.policy.videos_per_worker} a worker: {_workers(backlog.workers)}{limits}."
    )


def _move(inputs: Inputs, group: Group, backlog: _Backlog, want: int | None) -> _Outcome:
    """Apply the rules on scaling out and in, as if there were no override."""
    stay = group.clamp(group.desired)
    if want is None:
        reason = f"Nothing is known of the backlog: holding {_workers(group.desired)}."
        return _Outcome("hold", stay, True, reason)
    if want > group.desired:
        step = inputs.policy.max_step_out
        target = want if step is None else group.clamp(min(want, group.desired + step))
        capped = "" if target == want else f", by a step of at most {step}"
        reason = f"The backlog asks for {_workers(want)}, desired {group.desired}: out to {target}{capped}."
        return _Outcome(
            "scale-out", target, False, reason, f"Out to {target}{capped}.", "More are wanted, not fewer."
        )
    if want == group.desired:
        reason = f"The backlog asks for {_workers(want)}, as many as desired: nothing to change."
        return _Outcome("hold", stay, False, reason, "No more are wanted.", "No fewer are wanted.")
    target_in, in_verdict = _scale_in(inputs, group, backlog)
    reason = f"The backlog asks for {_workers(want)}, desired {group.desired}. {in_verdict}"
    if target_in is None:
        return _Outcome("hold", stay, True, reason, "No more are wanted.", in_verdict)
    return _Outcome("scale-in", target_in, False, reason, "No more are wanted.", in_verdict)


def _scale_in(inputs: Inputs, group: Group, backlog: _Backlog) -> tuple[int | None, str]:
    """Return how far the group may go in, or None, and why."""
    policy, processing = inputs.policy, inputs.processing
    if backlog.unknown or processing is None or backlog.workers is None:
        return None, f"Not in: unknown {backlog.unknown}."
    if not inputs.override_known:
        return None, "Not in: the override could not be read and might forbid it."
    minutes = policy.scale_in_window_s // 60
    peak, missing = read_window(
        inputs.window,
        inputs.at,
        window_s=policy.scale_in_window_s,
        measured_every_s=policy.measured_every_s,
    )
    if missing:
        return None, f"Not in: {missing} of the last {minutes} minutes have no point."
    # However many videos a worker may hold, each video in PROCESSING may be on a worker of its own.
    target = group.clamp(max(ceil(peak / policy.videos_per_worker), backlog.workers, processing))
    if target >= group.desired:
        return None, f"Not in: {target} were wanted within the last {minutes} minutes, or are at work."
    if processing and not group.protected:
        return None, f"Not in: {processing} in PROCESSING, and the group may end a busy instance."
    if processing and group.unprotected > max(group.in_service - processing, 0):
        return None, (
            f"Not in: {group.unprotected} of {group.in_service} in service have no protection, "
            f"more than can be idle with {processing} in PROCESSING."
        )
    return target, f"In to {target}: no more were wanted in any of the last {minutes} minutes."


def _obey(order: Override, group: Group, inputs: Inputs, outcome: _Outcome) -> _Outcome:
    """Apply an order in force to the outcome of the other rules."""
    because = f"Override until {_iso(order.until)} ({order.reason}): "
    if order.mode == "fixed" and order.desired is not None:
        fixed = group.clamp(order.desired)
        action: Action = "hold"
        if fixed != group.desired:
            action = "scale-out" if fixed > group.desired else "scale-in"
        at_risk = action == "scale-in" and inputs.processing != 0 and not group.protected
        risk = " Unprotected workers may lose their video." if at_risk else ""
        reason = f"{because}fixed at {_workers(fixed)}, desired {group.desired}.{risk}"
        return outcome._replace(action=action, desired=fixed, held=False, reason=reason)
    withheld = outcome.action != "hold" and order.mode in ("hold", f"no-{outcome.action}")
    if not withheld and order.mode != "hold":
        return outcome
    instead = f" It withholds {outcome.action} to {outcome.desired}." if withheld else ""
    return outcome._replace(
        action="hold",
        desired=group.clamp(group.desired),
        held=outcome.held or withheld,
        reason=f"{because}{order.mode}, holding {_workers(group.desired)}.{instead}",
    )


def _order_in_force(inputs: Inputs) -> tuple[Override | None, str]:
    order = inputs.override
    if not inputs.override_known:
        return None, "Unknown: the parameter could not be read, so nothing may be scaled in."
    if inputs.override_problem is not None:
        return None, f"Ignored, malformed: {inputs.override_problem}."
    if order is None:
        return None, "None."
    if order.until <= inputs.at:
        return None, f"Ignored, expired at {_iso(order.until)}: {order.mode}."
    what = f"fixed at {order.desired}" if order.mode == "fixed" else order.mode
    return order, f"In force until {_iso(order.until)}: {what}, because: {order.reason}"


def _known_sum(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return sum(known) if known else None


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
