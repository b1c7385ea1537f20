"""One look at the backlog, the queues and the fleet: measured, as metrics, and as the decision's inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from video_reclaim import cloudwatch, fleet, log, postgres, queues
from video_reclaim.cloudwatch import Metric
from video_reclaim.errors import InvalidSetting, StoreRefused, StoreUnavailable
from video_reclaim.scaling import LEGACY_EMPTY_S, Decision, Group, Inputs, Policy, Reading, parse_override
from video_reclaim.settings import BacklogSettings

WORKER_TYPE = "WorkerType"
VIDEO = "Video"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was found at one moment; None is unknown, and never 0.

    Attributes:
        at: when.
        videos: UPLOADED and PROCESSING, from the database.
        depths: messages by worker type.
        group: the worker group.
        override: the text of the operator's order; None for none.
        override_known: whether it could be read.
    """

    at: datetime
    videos: postgres.Backlog | None
    depths: Mapping[str, queues.Depth | None]
    group: Group | None
    override: str | None
    override_known: bool


def measure(settings: BacklogSettings, *, at: datetime) -> Measurement:
    """Ask every source once. One that fails is unknown; none keeps another from being asked.

    Raises:
        InvalidSetting: a setting makes no sense; nothing was asked.
    """
    policy_of(settings)
    if VIDEO not in settings.queue_urls:
        raise InvalidSetting("QUEUE_URLS", f"must name the queue of worker type {VIDEO}")
    override, override_known = fleet.override_text(settings.scaling_override_parameter)
    return Measurement(
        at=at,
        videos=_videos(),
        depths={kind: queues.depth(urls) for kind, urls in settings.queue_urls.items()},
        group=fleet.group(settings.auto_scaling_group),
        override=override,
        override_known=override_known,
    )


def policy_of(settings: BacklogSettings) -> Policy:
    """The decision's settings.

    Raises:
        InvalidSetting: one makes no sense; the message names it.
    """
    try:
        return Policy(
            videos_per_worker=settings.videos_per_worker,
            scale_in_window_s=settings.scale_in_window_seconds,
            measured_every_s=settings.measured_every_seconds,
            max_step_out=settings.max_step_out or None,
        )
    except ValueError as exc:
        name, _, problem = str(exc).partition(":")
        raise InvalidSetting(_SETTING[name], problem.strip()) from exc


def _videos() -> postgres.Backlog | None:
    try:
        return postgres.store().measure_backlog()
    except (StoreUnavailable, StoreRefused) as exc:
        log.event("backlog unknown", error=type(exc).__name__, cause=str(exc))
        return None


def publish_measurement(
    settings: BacklogSettings,
    seen: Measurement,
    totals: Mapping[str, Any],
    *,
    heartbeats_trusted: bool | None,
) -> None:
    """Publish what was measured, and what one pass of the execution did, all in one call.

    Args:
        settings: the environment.
        seen: the measurement; what is unknown is not published.
        totals: from `run_record.total`.
        heartbeats_trusted: whether Redis could say who is alive; None if nobody asked it.

    Raises:
        MetricsUnavailable: CloudWatch did not take them.
    """
    videos = seen.videos
    values: dict[Metric, float | None] = {
        _metric(settings, "BacklogCount"): None if videos is None else videos.uploaded + videos.processing,
        _metric(settings, "OldestBacklogAge", "Seconds"): None
        if videos is None
        else videos.oldest_uploaded_s,
        _metric(settings, "VideosReclaimed"): totals["reclaimed"],
        _metric(settings, "VideosEnqueued"): totals["enqueued"],
        _metric(settings, "VideosFailed"): sum(totals["failed"].values()),
        _metric(settings, "VideosQuarantined"): totals["quarantined"],
        _metric(settings, "HeartbeatsTrusted"): heartbeats_trusted,
    }
    for worker_type, depth in seen.depths.items():
        values[_queue_depth(worker_type)] = None if depth is None else depth.visible
    cloudwatch.put(settings.metric_namespace, values, at=seen.at)


def publish_decision(settings: BacklogSettings, decision: Decision, *, at: datetime) -> None:
    """Publish DesiredWorkers and DecisionHeld. Raises MetricsUnavailable."""
    values = {
        _metric(settings, "DesiredWorkers"): decision.desired,
        _metric(settings, "DecisionHeld"): decision.held,
    }
    cloudwatch.put(settings.metric_namespace, values, at=at)


def decision_inputs(settings: BacklogSettings, seen: Measurement) -> Inputs:
    """Read the window back from CloudWatch and put together everything that the decision depends on."""
    read_back = cloudwatch.maxima(
        settings.metric_namespace,
        [_metric(settings, "BacklogCount"), _queue_depth(VIDEO)],
        at=seen.at,
        window_s=max(settings.scale_in_window_seconds, LEGACY_EMPTY_S),
    )
    window, queue_window = read_back or ((), ())
    videos, depth = seen.videos, seen.depths[VIDEO]
    override, override_problem = parse_override(seen.override)
    return Inputs(
        at=seen.at,
        uploaded=_reading(None if videos is None else videos.uploaded),
        processing=_reading(None if videos is None else videos.processing),
        visible=_reading(None if depth is None else depth.visible),
        in_flight=_reading(None if depth is None else depth.in_flight),
        window=window,
        queue_window=queue_window,
        group=seen.group,
        override=override,
        override_problem=override_problem,
        override_known=seen.override_known,
        policy=policy_of(settings),
    )


_SETTING = {
    "videos_per_worker": "VIDEOS_PER_WORKER",
    "scale_in_window_s": "SCALE_IN_WINDOW_SECONDS",
    "measured_every_s": "MEASURED_EVERY_SECONDS",
    "max_step_out": "MAX_STEP_OUT",
}


def _reading(value: int | None) -> Reading:
    return Reading(value=value, age_s=None if value is None else 0.0)


def _metric(settings: BacklogSettings, name: str, unit: Literal["Count", "Seconds"] = "Count") -> Metric:
    return Metric(name, unit, tuple(sorted((settings.metric_dimensions or {}).items())))


def _queue_depth(worker_type: str) -> Metric:
    return Metric("QueueDepth", "Count", ((WORKER_TYPE, worker_type),))
