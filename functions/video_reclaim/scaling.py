"""How many workers the backlog asks for, and whether the fleet may be brought there now.

``decide`` is a pure function of one record: no clock, no I/O, so a decision found in a log line can be made
again (``python -m dev.simulation.replay``). Six rules, in this order:

1. An override that has not expired goes first. ``fixed`` is an order and is obeyed even where the other rules
   would keep more workers; the other modes only withhold changes.
2. Nothing fresh is known of the backlog: hold.
3. want = ceil(largest known source / videos per worker), within the group's live limits. The sources are the
   database (UPLOADED + PROCESSING) and the queue (visible + in flight). Half a source still is a lower bound.
4. want > desired: out, at once, by at most ``max_step_out``.
5. want < desired: in, but only when certain, and never below what the calm window's busiest minute wanted.
6. What the platform's former policy would do, for comparison.

**The window** of rule 5 is the ``scale_in_window_s / 60`` calendar minutes before the minute of ``at``, and
the minute of ``at`` as far as it has gone. An absent minute is unknown, never 0. The window is covered when
each of its minutes has a point, save two: the minute of ``at``, which is still open, and the one just before
it, which may not be readable yet. The value measured now stands for both. Where the backlog is measured only
every ``measured_every_s`` seconds, a minute is covered by a point that lies less than that from it.

**A group outside its own limits** (its maximum was lowered a moment ago, say) mends itself. The ``desired``
that is returned lies within the limits, but a hold stays a hold: not even to the maximum on doubt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil, inf
from typing import Any, Literal, NamedTuple, Self, get_args

__all__ = [
    "LEGACY_EMPTY_S",
    "Action",
    "Decision",
    "Group",
    "Inputs",
    "Mode",
    "Override",
    "Point",
    "Policy",
    "Reading",
    "decide",
    "parse_override",
]

Action = Literal["scale-out", "scale-in", "hold"]
Mode = Literal["hold", "fixed", "no-scale-in", "no-scale-out"]

LEGACY_EMPTY_S = 1200
"""Seconds that the queue had to be empty before the former policy went to the minimum."""

_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """One measured count, or unknown.

    Attributes:
        value: The count; None if it could not be measured.
        age_s: Seconds since it was measured; None if unknown, which makes the value unknown too.
    """

    value: int | None
    age_s: float | None

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"value": self.value, "ageS": self.age_s}

    @classmethod
    def from_record(cls, record: object, name: str = "reading") -> Self:
        """Read the JSON form.

        Raises:
            ValueError: A field is missing or of the wrong type; the message names it.
        """
        fields = _object(record, name)
        return cls(
            value=_optional_int(fields, "value", name),
            age_s=None if _get(fields, "ageS", name) is None else _number(fields, "ageS", name),
        )


@dataclass(frozen=True, slots=True)
class Point:
    """The maximum of a metric over one minute.

    Attributes:
        at: Start of the minute, with a time zone.
        value: The maximum. Negative or not finite counts as an absent minute.
    """

    at: datetime
    value: float

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"at": _iso(self.at), "value": self.value}

    @classmethod
    def from_record(cls, record: object, name: str = "point") -> Self:
        """Read the JSON form.

        Raises:
            ValueError: A field is missing or of the wrong type; the message names it.
        """
        fields = _object(record, name)
        return cls(at=_time(fields, "at", name), value=_number(fields, "value", name))


@dataclass(frozen=True, slots=True)
class Group:
    """The Auto Scaling group as it is now.

    Attributes:
        min: Its live minimum.
        max: Its live maximum.
        desired: Its desired capacity.
        in_service: Instances in service.
        protected: Instances are launched protected from scale-in, and only an idle worker takes its own
            protection off: so the group cannot choose a busy one.
        unprotected: Instances in service without protection. More of them than there can be idle workers
            contradicts ``protected``, and the group is then treated as unprotected.
    """

    min: int
    max: int
    desired: int
    in_service: int
    protected: bool
    unprotected: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max:
            raise ValueError(f"group: min {self.min} and max {self.max} leave no room")

    def clamp(self, workers: int) -> int:
        """Bring a number of workers within the live limits."""
        return min(max(workers, self.min), self.max)

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "min": self.min,
            "max": self.max,
            "desired": self.desired,
            "inService": self.in_service,
            "protected": self.protected,
            "unprotected": self.unprotected,
        }

    @classmethod
    def from_record(cls, record: object, name: str = "group") -> Self:
        """Read the JSON form.

        Raises:
            ValueError: A field is missing or of the wrong type; the message names it.
        """
        fields = _object(record, name)
        return cls(
            min=_int(fields, "min", name),
            max=_int(fields, "max", name),
            desired=_int(fields, "desired", name),
            in_service=_int(fields, "inService", name),
            protected=_bool(fields, "protected", name),
            unprotected=_int(fields, "unprotected", name) if "unprotected" in fields else 0,
        )


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's order.

    Attributes:
        mode: ``hold`` changes nothing, ``fixed`` keeps ``desired`` workers, ``no-scale-in`` and
            ``no-scale-out`` withhold one direction.
        desired: For ``fixed``: how many workers; brought within the live limits.
        until: The order holds before this moment, and no longer at it.
        reason: Why, for whoever reads the decision.
    """

    mode: Mode
    desired: int | None
    until: datetime
    reason: str

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form, which is also the form of the parameter."""
        return {"mode": self.mode, "desired": self.desired, "until": _iso(self.until), "reason": self.reason}

    @classmethod
    def from_record(cls, record: object, name: str = "override") -> Self:
        """Read the JSON form. ``desired`` may be left out of all modes but ``fixed``.

        Raises:
            ValueError: A field is missing or wrong; the message names it.
        """
        fields = _object(record, name)
        mode = _get(fields, "mode", name)
        if mode not in get_args(Mode):
            raise ValueError(f"{name}.mode: must be one of {', '.join(get_args(Mode))}, is {mode!r}")
        desired = _optional_int(fields, "desired", name) if mode == "fixed" or "desired" in fields else None
        if desired is None and mode == "fixed":
            raise ValueError(f"{name}.desired: mode fixed needs a number of workers")
        if desired is not None and desired < 0:
            raise ValueError(f"{name}.desired: must not be negative, is {desired}")
        reason = _get(fields, "reason", name)
        if not isinstance(reason, str):
            raise ValueError(f"{name}.reason: must be a string, is {reason!r}")
        return cls(mode=mode, desired=desired, until=_time(fields, "until", name), reason=reason)


def parse_override(text: str | None) -> tuple[Override | None, str | None]:
    """Read the override parameter's text.

    Args:
        text: The parameter's value; None if there is no parameter.

    Returns:
        The override, or None, and what is wrong with the text, or None. A malformed override is no override,
        and the problem names the field, so that its author sees why nothing happened. An expired one is
        returned: whether it has expired is for ``decide`` to say.
    """
    if text is None:
        return None, None
    try:
        return Override.from_record(json.loads(text)), None
    except RecursionError:
        return None, "override: nested too deeply"
    except json.JSONDecodeError as exc:
        return None, f"override: not JSON ({exc})"
    except ValueError as exc:
        return None, str(exc)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the decision.

    Attributes:
        videos_per_worker: Videos that one worker encodes at a time.
        scale_in_window_s: Calm that a scale-in needs; whole minutes, at least twice ``measured_every_s``: the
            newest point need not be readable yet, and a window without a single point would prove nothing.
        measured_every_s: How far apart measurements are; whole minutes.
        max_step_out: Most workers added at once; None: no cap.
        fresh_within_s: A reading older than this is unknown.
        legacy_step: The former policy's step above the busy workers.

    Raises:
        ValueError: A setting makes no sense; the message begins with the field's name.
    """

    videos_per_worker: int = 1
    scale_in_window_s: int = 1200
    measured_every_s: int = 60
    max_step_out: int | None = None
    fresh_within_s: int = 120
    legacy_step: int = 5

    def __post_init__(self) -> None:
        for name in (
            "videos_per_worker",
            "scale_in_window_s",
            "measured_every_s",
            "max_step_out",
            "fresh_within_s",
            "legacy_step",
        ):
            value = getattr(self, name)
            if value is None and name == "max_step_out":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: must be a whole number of at least 1, is {value!r}")
        if self.measured_every_s % _MINUTE_S:
            raise ValueError(f"measured_every_s: must be whole minutes, is {self.measured_every_s} s")
        least_s = 2 * self.measured_every_s
        if self.scale_in_window_s % _MINUTE_S or self.scale_in_window_s < least_s:
            raise ValueError(
                f"scale_in_window_s: must be whole minutes, at least {least_s} s, is {self.scale_in_window_s}"
            )

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "videosPerWorker": self.videos_per_worker,
            "scaleInWindowS": self.scale_in_window_s,
            "measuredEveryS": self.measured_every_s,
            "maxStepOut": self.max_step_out,
            "freshWithinS": self.fresh_within_s,
            "legacyStep": self.legacy_step,
        }

    @classmethod
    def from_record(cls, record: object, name: str = "policy") -> Self:
        """Read the JSON form.

        Raises:
            ValueError: A field is missing, of the wrong type, or makes no sense; the message names it.
        """
        fields = _object(record, name)
        return cls(
            videos_per_worker=_int(fields, "videosPerWorker", name),
            scale_in_window_s=_int(fields, "scaleInWindowS", name),
            measured_every_s=_int(fields, "measuredEveryS", name),
            max_step_out=_optional_int(fields, "maxStepOut", name),
            fresh_within_s=_int(fields, "freshWithinS", name),
            legacy_step=_int(fields, "legacyStep", name),
        )


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a decision depends on.

    Attributes:
        at: The moment of the decision, with a time zone.
        uploaded: Videos waiting, from the database.
        processing: Videos being encoded, from the database.
        visible: Messages waiting in the video queue.
        in_flight: Messages received from the video queue and not yet deleted.
        window: Maxima of BacklogCount, read back; any order, gaps allowed.
        queue_window: Maxima of the video queue's QueueDepth, read back, for the former policy.
        group: The worker group; None: unknown.
        override: The operator's order, expired or not; None: there is none.
        override_problem: Why the order that was found could not be read.
        policy: The settings.
        override_known: False: the parameter could not be read, so an order against scale-in may exist.
    """

    at: datetime
    uploaded: Reading
    processing: Reading
    visible: Reading
    in_flight: Reading
    window: tuple[Point, ...]
    queue_window: tuple[Point, ...]
    group: Group | None
    override: Override | None = None
    override_problem: str | None = None
    policy: Policy = field(default_factory=Policy)
    override_known: bool = True

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("at: needs a time zone")

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "at": _iso(self.at),
            "uploaded": self.uploaded.to_record(),
            "processing": self.processing.to_record(),
            "visible": self.visible.to_record(),
            "inFlight": self.in_flight.to_record(),
            "window": [point.to_record() for point in self.window],
            "queueWindow": [point.to_record() for point in self.queue_window],
            "group": None if self.group is None else self.group.to_record(),
            "override": None if self.override is None else self.override.to_record(),
            "overrideProblem": self.override_problem,
            "overrideKnown": self.override_known,
            "policy": self.policy.to_record(),
        }

    @classmethod
    def from_record(cls, record: object, name: str = "inputs") -> Self:
        """Read the JSON form.

        Raises:
            ValueError: A field is missing or wrong; the message names it.
        """
        fields = _object(record, name)
        group = _get(fields, "group", name)
        override = _get(fields, "override", name)
        return cls(
            at=_time(fields, "at", name),
            uploaded=Reading.from_record(_get(fields, "uploaded", name), f"{name}.uploaded"),
            processing=Reading.from_record(_get(fields, "processing", name), f"{name}.processing"),
            visible=Reading.from_record(_get(fields, "visible", name), f"{name}.visible"),
            in_flight=Reading.from_record(_get(fields, "inFlight", name), f"{name}.inFlight"),
            window=_points(fields, "window", name),
            queue_window=_points(fields, "queueWindow", name),
            group=None if group is None else Group.from_record(group, f"{name}.group"),
            override=None if override is None else Override.from_record(override, f"{name}.override"),
            override_problem=_optional_text(fields, "overrideProblem", name),
            override_known=_bool(fields, "overrideKnown", name),
            policy=Policy.from_record(_get(fields, "policy", name), f"{name}.policy"),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with the group, and why.

    Attributes:
        action: ``hold`` means: leave the group alone.
        desired: Workers to have, within the group's live limits; None only when the group is unknown.
        reason: One sentence for people.
        held: A change was wanted and withheld, or nothing could be known.
        rules: Each rule's name and its verdict, in the order of the rules.
        legacy_desired: What the former policy would have asked for; None if it could not have known.
        want: Workers that the known backlog asks for now; None if no backlog is known. Within the live limits
            when the group is known.
        inputs: What was decided upon.
    """

    action: Action
    desired: int | None
    reason: str
    held: bool
    rules: tuple[tuple[str, str], ...]
    legacy_desired: int | None
    want: int | None
    inputs: Inputs

    def to_record(self) -> dict[str, Any]:
        """Give the JSON form, inputs included: all that is needed to make the decision again."""
        return {
            "action": self.action,
            "desired": self.desired,
            "reason": self.reason,
            "held": self.held,
            "rules": [{"rule": name, "verdict": verdict} for name, verdict in self.rules],
            "legacyDesired": self.legacy_desired,
            "want": self.want,
            "inputs": self.inputs.to_record(),
        }

    @classmethod
    def from_record(cls, record: object, name: str = "decision") -> Self:
        """Read the JSON form; fields that are not the decision's own are ignored.

        Raises:
            ValueError: A field is missing or wrong; the message names it.
        """
        fields = _object(record, name)
        action = _get(fields, "action", name)
        if action not in get_args(Action):
            raise ValueError(f"{name}.action: must be one of {', '.join(get_args(Action))}, is {action!r}")
        rules = []
        for index, rule in enumerate(_list(fields, "rules", name)):
            where = f"{name}.rules[{index}]"
            parts = _object(rule, where)
            rules.append((_text(parts, "rule", where), _text(parts, "verdict", where)))
        return cls(
            action=action,
            desired=_optional_int(fields, "desired", name),
            reason=_text(fields, "reason", name),
            held=_bool(fields, "held", name),
            rules=tuple(rules),
            legacy_desired=_optional_int(fields, "legacyDesired", name),
            want=_optional_int(fields, "want", name),
            inputs=Inputs.from_record(_get(fields, "inputs", name), f"{name}.inputs"),
        )


def decide(inputs: Inputs) -> Decision:
    """Apply the six rules (see the module) to one record of inputs.

    The same inputs always give the same decision. Inputs that could be constructed never raise, as long as
    every time in them has a zone.
    """
    measured = _measure(inputs)
    group = inputs.group
    order, override_verdict = _override_in_force(inputs)
    fresh_verdict, want_verdict = _explain(inputs, measured)
    legacy_desired, legacy_verdict = _legacy(inputs, measured)
    if group is None:
        want = measured.workers
        outcome = _Outcome(
            "hold", None, True, "The worker group is unknown: nothing can be changed.", *_UNJUDGED
        )
    else:
        want = None if measured.workers is None else group.clamp(measured.workers)
        outcome = _move(inputs, group, measured, want)
        if order is not None:
            outcome = _obey(order, group, measured, outcome)
    return Decision(
        action=outcome.action,
        desired=outcome.desired,
        reason=outcome.reason,
        held=outcome.held,
        rules=(
            ("override", override_verdict),
            ("fresh-backlog", fresh_verdict),
            ("want", want_verdict),
            ("scale-out", outcome.out_verdict),
            ("scale-in", outcome.in_verdict),
            ("legacy", legacy_verdict),
        ),
        legacy_desired=legacy_desired,
        want=want,
        inputs=inputs,
    )


class _Measured(NamedTuple):
    """The readings that are fresh, and what they come to; None: unknown."""

    backlog: int | None
    queued: int | None
    processing: int | None
    visible: int | None
    in_flight: int | None
    unknown: str  # names of the unknown readings; empty: all is known
    workers: int | None  # what the largest source asks for, before the group's limits


class _Outcome(NamedTuple):
    action: Action
    desired: int | None
    held: bool
    reason: str
    out_verdict: str
    in_verdict: str


_UNJUDGED = ("Not judged: too little is known.",) * 2


def _measure(inputs: Inputs) -> _Measured:
    policy = inputs.policy
    uploaded = _fresh(inputs.uploaded, policy)
    processing = _fresh(inputs.processing, policy)
    visible = _fresh(inputs.visible, policy)
    in_flight = _fresh(inputs.in_flight, policy)
    backlog = _known_sum(uploaded, processing)
    queued = _known_sum(visible, in_flight)
    demand = queued if backlog is None else backlog if queued is None else max(backlog, queued)
    return _Measured(
        backlog=backlog,
        queued=queued,
        processing=processing,
        visible=visible,
        in_flight=in_flight,
        unknown=_names_of_unknown(uploaded, processing, visible, in_flight),
        workers=None if demand is None else -(-demand // policy.videos_per_worker),
    )


def _explain(inputs: Inputs, measured: _Measured) -> tuple[str, str]:
    """Give the verdicts of the rules that only look: what is fresh, and what is wanted."""
    if measured.workers is None:
        return f"Unknown: {measured.unknown}. Nothing fresh is known of the backlog.", "Not known."
    limits = ""
    if inputs.group is not None:
        group = inputs.group
        limits = f", within the group's {group.min} to {group.max}: {group.clamp(measured.workers)}"
    return (
        f"Unknown: {measured.unknown}." if measured.unknown else "Every source is fresh.",
        f"Database {_or_unknown(measured.backlog)}, queue {_or_unknown(measured.queued)}, "
        f"at {inputs.policy.videos_per_worker} a worker: {_workers(measured.workers)}{limits}.",
    )


def _move(inputs: Inputs, group: Group, measured: _Measured, want: int | None) -> _Outcome:
    """Apply the rules on scaling out and in, as if there were no override."""
    stay = group.clamp(group.desired)
    now = _workers(group.desired)
    if want is None:
        reason = f"Nothing fresh is known of the backlog: holding {now}."
        return _Outcome("hold", stay, True, reason, *_UNJUDGED)
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
    target_in, in_verdict = _scale_in(inputs, group, measured)
    reason = f"The backlog asks for {_workers(want)}, desired {group.desired}. {in_verdict}"
    if target_in is None:
        return _Outcome("hold", stay, True, reason, "No more are wanted.", in_verdict)
    return _Outcome("scale-in", target_in, False, reason, "No more are wanted.", in_verdict)


def _scale_in(inputs: Inputs, group: Group, measured: _Measured) -> tuple[int | None, str]:
    """Tell how far the group may go in, None if not at all, and why."""
    policy = inputs.policy
    processing = measured.processing
    if measured.unknown or processing is None or measured.workers is None:
        return None, f"Not in: unknown {measured.unknown}."
    if not inputs.override_known:
        return None, "Not in: the override could not be read and might forbid it."
    peak, missing = _highest(inputs.window, inputs.at, policy.scale_in_window_s, policy.measured_every_s)
    minutes = policy.scale_in_window_s // _MINUTE_S
    if missing:
        return None, f"Not in: {missing} of the last {minutes} minutes have no point."
    # However many videos a worker may hold, each of those in PROCESSING may sit on a worker of its own.
    target = group.clamp(max(ceil(peak / policy.videos_per_worker), measured.workers, processing))
    if target >= group.desired:
        return None, f"Not in: {target} were wanted within the last {minutes} minutes, or are at work."
    if processing and not group.protected:
        return (
            None,
            f"Not in: {processing} in PROCESSING, and the unprotected group chooses its victim blindly.",
        )
    if processing and group.unprotected > max(group.in_service - processing, 0):
        return None, (
            f"Not in: {group.unprotected} of {group.in_service} in service have no protection, "
            f"more than can be idle with {processing} in PROCESSING."
        )
    return target, f"In to {target}: no more were wanted in any of the last {minutes} minutes."


def _obey(order: Override, group: Group, measured: _Measured, outcome: _Outcome) -> _Outcome:
    """Put an override in force in place of the other rules' outcome."""
    because = f"Override until {_iso(order.until)} ({order.reason}): "
    if order.mode == "fixed" and order.desired is not None:
        fixed = group.clamp(order.desired)
        action: Action = "hold"
        if fixed != group.desired:
            action = "scale-out" if fixed > group.desired else "scale-in"
        risk = ""
        if action == "scale-in" and measured.processing != 0 and not group.protected:
            risk = " Unprotected workers may lose their video."
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


def _override_in_force(inputs: Inputs) -> tuple[Override | None, str]:
    override = inputs.override
    if not inputs.override_known:
        return None, "Unknown: the parameter could not be read, so nothing may be scaled in."
    if inputs.override_problem is not None:
        return None, f"Ignored, malformed: {inputs.override_problem}."
    if override is None:
        return None, "None."
    if override.until <= inputs.at:
        return None, f"Ignored, expired at {_iso(override.until)}: {override.mode}."
    what = f"fixed at {override.desired}" if override.mode == "fixed" else override.mode
    return override, f"In force until {_iso(override.until)}: {what}, because: {override.reason}"


def _legacy(inputs: Inputs, measured: _Measured) -> tuple[int | None, str]:
    """Give what the former policy would ask for.

    "Empty since" is told by the queue's depth as read back; messages that were merely in flight in the
    meantime leave no trace there.
    """
    group = inputs.group
    visible, in_flight = measured.visible, measured.in_flight
    if group is None:
        return None, "Cannot be said: the group is unknown."
    if visible is None or in_flight is None:
        return None, "Cannot be said: the queue is unknown."
    if visible or in_flight:
        asked = group.clamp(in_flight + min(visible, inputs.policy.legacy_step))
        return asked, f"In flight {in_flight} and visible {visible}: {asked}."
    deepest, missing = _highest(
        inputs.queue_window, inputs.at, LEGACY_EMPTY_S, inputs.policy.measured_every_s
    )
    if missing or deepest > 0:
        return group.desired, f"The queue is empty, but not known to be so for {LEGACY_EMPTY_S} s: unchanged."
    return group.min, f"The queue has been empty for {LEGACY_EMPTY_S} s: the minimum, {group.min}."


def _highest(points: Sequence[Point], at: datetime, window_s: int, every_s: int) -> tuple[float, int]:
    """Give the window's highest value, 0 without any, and how many of its minutes lack a point they need."""
    minute = at.replace(second=0, microsecond=0)
    minutes = window_s // _MINUTE_S
    seen = 0
    highest = 0.0
    for point in points:
        value = point.value
        if not 0 <= value < inf:
            continue
        ago = minute - point.at
        index = -((-86400 * ago.days - ago.seconds) // _MINUTE_S)  # minutes before that of `at`, rounded up
        if index > minutes:
            continue
        if value > highest:
            highest = value
        if index >= 0:
            seen |= 1 << index
    covered = seen
    for distance in range(1, every_s // _MINUTE_S):
        covered |= seen << distance | seen >> distance
    needed = (1 << (minutes + 1)) - 4  # minutes 2 to `minutes` ago
    return highest, (needed & ~covered).bit_count()


def _fresh(reading: Reading, policy: Policy) -> int | None:
    value, age_s = reading.value, reading.age_s
    if value is None or age_s is None or value < 0 or not age_s <= policy.fresh_within_s:
        return None
    return value


def _known_sum(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else one + other


def _names_of_unknown(
    uploaded: int | None, processing: int | None, visible: int | None, in_flight: int | None
) -> str:
    if uploaded is not None and processing is not None and visible is not None and in_flight is not None:
        return ""
    named = (
        ("UPLOADED", uploaded),
        ("PROCESSING", processing),
        ("visible", visible),
        ("in flight", in_flight),
    )
    return ", ".join(name for name, value in named if value is None)


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _object(record: object, name: str) -> Mapping[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"{name}: must be an object, is {record!r}")
    return record


def _get(fields: Mapping[str, Any], key: str, name: str) -> Any:  # noqa: ANN401  JSON, typed by the caller
    if key not in fields:
        raise ValueError(f"{name}.{key}: missing")
    return fields[key]


def _int(fields: Mapping[str, Any], key: str, name: str) -> int:
    value = _get(fields, key, name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of number: 12 may come back as 12.0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}.{key}: must be a whole number, is {value!r}")
    return value


def _optional_int(fields: Mapping[str, Any], key: str, name: str) -> int | None:
    return None if _get(fields, key, name) is None else _int(fields, key, name)


def _number(fields: Mapping[str, Any], key: str, name: str) -> float:
    value = _get(fields, key, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}.{key}: must be a number, is {value!r}")
    return float(value)


def _bool(fields: Mapping[str, Any], key: str, name: str) -> bool:
    value = _get(fields, key, name)
    if not isinstance(value, bool):
        raise ValueError(f"{name}.{key}: must be true or false, is {value!r}")
    return value


def _text(fields: Mapping[str, Any], key: str, name: str) -> str:
    value = _get(fields, key, name)
    if not isinstance(value, str):
        raise ValueError(f"{name}.{key}: must be a string, is {value!r}")
    return value


def _optional_text(fields: Mapping[str, Any], key: str, name: str) -> str | None:
    return None if _get(fields, key, name) is None else _text(fields, key, name)


def _list(fields: Mapping[str, Any], key: str, name: str) -> list[Any]:
    value = _get(fields, key, name)
    if not isinstance(value, list):
        raise ValueError(f"{name}.{key}: must be a list, is {value!r}")
    return value


def _points(fields: Mapping[str, Any], key: str, name: str) -> tuple[Point, ...]:
    return tuple(
        Point.from_record(record, f"{name}.{key}[{index}]")
        for index, record in enumerate(_list(fields, key, name))
    )


def _time(fields: Mapping[str, Any], key: str, name: str) -> datetime:
    text = _text(fields, key, name)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"{name}.{key}: must be an ISO 8601 time, is {text!r}") from exc
    if at.tzinfo is None:
        raise ValueError(f"{name}.{key}: needs an offset from UTC, is {text!r}")
    return at.astimezone(UTC)
