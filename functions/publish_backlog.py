"""Measure the backlog, publish it, read it back, and decide how many workers there should be."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from video_reclaim import log
from video_reclaim.adapters import autoscaling, cloudwatch, sqs, ssm
from video_reclaim.adapters.postgres.store import Backlog, store
from video_reclaim.conversion import from_builtins, to_builtins
from video_reclaim.errors import StoreRefused, StoreUnavailable
from video_reclaim.metrics import METRICS, VIDEO, WORKER_TYPE, Series, series
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.run_record import PublishEvent, add_pass
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.decision import decide, idle_while_waiting, waiting_at_maximum
from video_reclaim.scaling.override import parse_override
from video_reclaim.scaling.records import Decision, Group, Inputs
from video_reclaim.scaling.window import last_known
from video_reclaim.settings import Metrics, Queues, Scaling, Schedule, Workers, read

OUTAGE_S = 6 * 3600
"""So far back the last known backlog is looked for while the database is unknown."""


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map ``{"input": {…}, "run": {…}, "pass": {…}, "execution": ARN}`` to the record and the group's size.

    The answer is ``{"run": {…}, "setDesiredCapacity": {"needed": bool, "to": int}}``, where ``run`` is the record with
    the pass and the decision added. A dry run publishes nothing and needs no change. A retry measures, publishes and
    decides afresh; the metrics of what the items did then count twice.

    Raises:
        InvalidInput: names the field, where the listing could not say so.
        InvalidSetting: names the variable.
    """
    at, mode = datetime.now(UTC), read(Scaling).mode
    dry_run = ExecutionInput.parse(event["input"]).dry_run
    given = from_builtins(event, PublishEvent, strict=False)
    run = add_pass(given.run, given.pass_)
    run.dry_run = dry_run
    seen, metrics = measure(), read(Metrics)
    publish = partial(cloudwatch.put, metrics.namespace, at=at, enabled=not dry_run)
    error = publish(measured(metrics, seen, given))
    decision = decide_for(decision_inputs(seen, at))
    error = error or publish(decided(metrics, decision))  # without an answer, its time-out is paid once
    run.decision, run.metrics_error = decision, error or msgspec.UNSET
    needed = mode == "apply" and decision.action != "hold" and not dry_run
    log.info("decided", **told(decision, failed=sum(run.failed.values()), applied=needed))
    return {"run": to_builtins(run), "setDesiredCapacity": {"needed": needed, "to": decision.desired or 0}}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was found at one moment. None is unknown, which is never 0."""

    backlog: Backlog | None
    depths: Mapping[str, sqs.Depth | None]  # by worker type
    group: tuple[Group | None, str | None]  # or None, and why it is unknown
    override: tuple[str | None, bool]  # text of the operator's order, and whether it could be read


def measure() -> Measurement:
    """Ask every source once, side by side; one that fails is unknown. Raises InvalidSetting."""
    with ThreadPoolExecutor() as pool:
        backlog = pool.submit(_backlog)
        depths = {kind: pool.submit(sqs.read_depth, urls) for kind, urls in read(Queues).urls.items()}
        group = pool.submit(autoscaling.describe_group, read(Workers).group_name)
        override = pool.submit(ssm.read_parameter, read(Scaling).override_parameter)
    depth_by_kind = {kind: depth.result() for kind, depth in depths.items()}
    return Measurement(backlog.result(), depth_by_kind, group.result(), override.result())


def _backlog() -> Backlog | None:
    try:
        return store().measure_backlog()
    except (StoreUnavailable, StoreRefused) as exc:
        log.warning("backlog unknown", error=type(exc).__name__, cause=str(exc))
        return None


def measured(metrics: Metrics, seen: Measurement, given: PublishEvent) -> dict[Series, float | None]:
    """Return the metrics of the measurement and of what one pass of the execution did.

    Sums of 0 are left out: CloudWatch charges a metric for the hours in which it is published.
    """
    did, backlog = given.pass_.total(), seen.backlog
    trusted = add_pass(given.run, given.pass_).heartbeats_trusted
    looked = not given.pass_.retried and given.run.heartbeats_trusted is not msgspec.UNSET
    values = {
        "BacklogCount": None if backlog is None else backlog.uploaded + backlog.processing,
        "VideoMessages": None if (video := seen.depths.get(VIDEO)) is None else video.visible,
        "OldestBacklogAge": _known(given.run.longest_wait_s),
        "VideosReclaimed": did.reclaimed,
        "VideosEnqueued": did.enqueued,
        "VideosFailed": sum(given.pass_.failed().values()),
        "VideosQuarantined": did.quarantined,
        "VideosRefused": did.refused,
        "VideosWithoutTenant": given.run.spared.get(Reason.TENANT_UNKNOWN, 0) if looked else None,
        "VideosResent": did.resent,
        "DuplicatesSent": sum(did.duplicates.values()),
        "HeartbeatsTrusted": _known(trusted),
    }
    own = {
        series(name, metrics.dimensions): value
        for name, value in values.items()
        if value != 0 or METRICS[name].statistic != "Sum"
    }
    depths = {
        series("QueueDepth", {WORKER_TYPE: kind}): None if depth is None else depth.visible
        for kind, depth in seen.depths.items()
    }
    return {**own, **depths}


def _known(value: float | msgspec.UnsetType) -> float | None:
    return None if isinstance(value, msgspec.UnsetType) else value


def decided(metrics: Metrics, decision: Decision) -> dict[Series, float | None]:
    """Return the metrics of the decision."""
    values = {
        "DesiredWorkers": decision.desired,
        "DecisionHeld": decision.held,
        "OverrideUnclear": decision.inputs.override_problem is not None,
        "IdleWorkersWhileWaiting": idle_while_waiting(decision.inputs),
        "WaitingAtMaximum": waiting_at_maximum(decision.inputs),
    }
    return {series(name, metrics.dimensions): value for name, value in values.items()}


def told(decision: Decision, *, failed: int, applied: bool) -> dict[str, object]:
    """Return the fields of the decision's log line, which is all that a failed execution leaves of it."""
    inputs = decision.inputs
    return {
        **{name: getattr(decision, name) for name in ("action", "desired", "held", "reason")},
        **{name: getattr(inputs, name) for name in ("uploaded", "processing", "visible")},
        "before": None if inputs.group is None else inputs.group.desired,
        "failed": failed,
        "applied": applied,
    }


def decide_for(inputs: Inputs) -> Decision:
    """Decide; before the group shrinks, ask whether it may."""
    decision = decide(inputs)
    if decision.action != "scale-in":
        return decision
    problem = autoscaling.why_not_to_shrink(read(Workers).group_name)
    return decide(msgspec.structs.replace(inputs, shrink_problem=problem))


def decision_inputs(seen: Measurement, at: datetime) -> Inputs:
    """Read the window back from CloudWatch and collect everything that the decision depends on."""
    backlog, depth, scaling = seen.backlog, seen.depths[VIDEO], read(Scaling)
    text, readable = seen.override
    override, override_problem = parse_override(text, at) if readable else (None, "it could not be read")
    group, group_problem = seen.group
    visible = None if depth is None else depth.visible
    inputs = Inputs(
        at=at,
        uploaded=None if backlog is None else backlog.uploaded,
        processing=None if backlog is None else backlog.processing,
        visible=visible,
        window=(),
        group=group,
        settings=scaling,
        measured_every_s=60 * read(Schedule).rate_minutes,
        override=override,
        group_problem=group_problem,
        override_problem=override_problem,
    )
    read_back = partial(cloudwatch.maxima, read(Metrics).namespace, at=at)
    names = ("BacklogCount", "DesiredWorkers", "VideoMessages")
    own, *others = (series(name, read(Metrics).dimensions) for name in names)
    if backlog is None:
        then, wanted, messages = (read_back(one, window_s=OUTAGE_S) for one in (own, *others))
        last = last_known(then, wanted, messages, visible)
        return msgspec.structs.replace(inputs, last_known=last)
    return msgspec.structs.replace(
        inputs,
        held_by_draining=sum(backlog.by_instance.get(id_, 0) for id_ in (group.draining if group else ())),
        stranded=backlog.stranded,
        window=read_back(own, window_s=scaling.scale_in_window_seconds),
    )
