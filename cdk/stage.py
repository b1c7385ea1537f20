"""A stage, a file of ``stages/``: typed, validated, and every error names the key."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from .fields import Dimensions, Namespace, OverrideParameter, Seconds, Section, Tags, TopicArn
from .refusals import (
    Owned,
    queue_place,
    refuse_foreign_dead_letters,
    refuse_missing_roots,
    refuse_other_regions,
    refuse_sharing,
    secrets_and_keys,
)
from .sections import LISTING_CONNECTIONS, Database, Network, QueueNames, Redis, Workers

STAGES = Path(__file__).parent.parent / "stages"


class InvalidStage(Exception):
    """A stage can't be used; the message names the key and says what is wrong with it."""


class Schedule(Section):
    """How often the workflow starts."""

    enabled: bool = Field(default=True, exclude=True)
    rate_minutes: int = Field(default=1, ge=1, le=60)


class Reclaiming(Section):
    """When a video counts as stuck, and how it is put back."""

    silent_after_seconds: int = Field(default=60, ge=45, le=3_600)
    handoff_seconds: int = Field(default=900, ge=300, le=86_400)
    max_reclaims: int = Field(default=5, ge=0)
    mass_silence_seconds: Seconds = 600
    lost_after_seconds: int = Field(default=300, ge=300)
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"
    max_concurrency: int = Field(default=5, ge=1, le=40, exclude=True)


class Scaling(Section):
    """How the worker group follows the backlog."""

    mode: Literal["apply", "advise"] = "apply"
    videos_per_worker: int = Field(default=1, ge=1)
    spare_workers: int = Field(default=1, ge=0)
    peak_window_seconds: int = Field(default=120, ge=60, multiple_of=60)
    scale_in_window_seconds: int = Field(default=1200, ge=120, multiple_of=60)
    max_step_out: int | None = Field(default=None, ge=1)
    override_parameter: OverrideParameter = "/video-reclaim/{stage}/scaling-override"


class Metrics(Section):
    """Where metrics go. ``dimensions`` are put on every metric but QueueDepth, which has WorkerType.

    Where ``dimensions`` is not given, it is the dimension Stage with the name of the stage.
    """

    namespace: Namespace = "Academy/Workers"
    dimensions: Dimensions = Field(default_factory=dict)


class AlarmSetting(Section):
    """Threshold of one alarm, in the unit of its metric, and whether the alarm exists."""

    threshold: float | None = Field(default=None, ge=0)
    enabled: bool = True


class Observability(Section):
    """Logs, and the topics that the alarms notify.

    Alarms that somebody has to act on now notify ``topicArn``; the others notify ``notifyTopicArn``, or ``topicArn``
    where that is not set. ``alarms`` changes single alarms by name. ``runbookUrl`` is the address of
    docs/runbook.md for the operators; each alarm links to its own entry there.
    """

    log_retention: Literal[
        "ONE_DAY", "ONE_WEEK", "TWO_WEEKS", "ONE_MONTH", "THREE_MONTHS", "SIX_MONTHS", "ONE_YEAR"
    ] = "ONE_MONTH"
    log_execution_data: bool = False
    topic_arn: TopicArn | None = None
    notify_topic_arn: TopicArn | None = None
    runbook_url: str = "docs/runbook.md"
    oldest_wait_seconds: int = Field(default=1800, ge=60)
    alarms: dict[str, AlarmSetting] = Field(default_factory=dict)


class Functions(Section):
    """Runtime of the functions. The dependencies are built for the same version of Python."""

    memory_mb: int = Field(default=512, ge=128, le=10_240)
    python: Literal["3.12", "3.13", "3.14"] = "3.13"


class Settings(Section):
    """How the app works, whatever platform it works for."""

    bundle: Literal["aws", "host"] = "aws"
    functions: Functions = Field(default_factory=Functions)
    schedule: Schedule = Field(default_factory=Schedule)
    reclaiming: Reclaiming = Field(default_factory=Reclaiming)
    scaling: Scaling = Field(default_factory=Scaling)
    metrics: Metrics = Field(default_factory=Metrics)
    observability: Observability = Field(default_factory=Observability)


class Stage(Settings):
    """One deployment: settings, and what the functions are told about the platform."""

    database: Database
    redis: Redis
    workers: Workers

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        lanes, database = self.reclaiming.max_concurrency, self.database
        needed = LISTING_CONNECTIONS + 2 * lanes
        if database.max_connections is not None and database.max_connections < needed:
            raise ValueError(
                f"database.maxConnections must be at least {needed} for reclaiming.maxConcurrency {lanes}"
            )
        two_rounds_s, peak_s = 120 * self.schedule.rate_minutes, self.scaling.peak_window_seconds
        if peak_s < two_rounds_s:
            raise ValueError(
                f"scaling.peakWindowSeconds must be at least {two_rounds_s}, two rounds of schedule.rateMinutes "
                f"{self.schedule.rate_minutes}"
            )
        if self.scaling.scale_in_window_seconds < peak_s:
            raise ValueError(
                f"scaling.scaleInWindowSeconds must be at least scaling.peakWindowSeconds, {peak_s}"
            )
        return self

    def named(self, name: str) -> Self:
        """Return a copy that has ``name`` in the values that tell stages apart and were not given."""
        metrics, scaling = self.metrics, self.scaling
        if "dimensions" not in metrics.model_fields_set:
            metrics = metrics.model_copy(update={"dimensions": {"Stage": name}})
        override = scaling.override_parameter.replace("{stage}", name)
        return self.model_copy(
            update={
                "metrics": metrics,
                "scaling": scaling.model_copy(update={"override_parameter": override}),
            }
        )


class StageFile(Stage):
    """A file of ``stages/``: a deployment with its place and the queues and networks by their ids.

    ``retain`` keeps created queues and logs when the stack is deleted. ``terminationProtection`` refuses to delete
    the stack.
    """

    account: str | None = Field(default=None, pattern=r"^\d{12}$")
    region: str | None = None
    network: Network | None = None
    queues: QueueNames
    termination_protection: bool = False
    retain: bool = False
    tags: Tags = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if self.region:
            refuse_missing_roots(self.database, self.region)
            refuse_other_regions(self._arns(), self.region)
        refuse_foreign_dead_letters(self.queues.video_dead_letter, self.account, self.region)
        return self

    def _arns(self) -> list[tuple[str, str | None]]:
        return [
            *secrets_and_keys(self.database, self.redis),
            ("queues.videoKeyArn", self.queues.video_key_arn),
            *(("queues", name) for name in self.queues.names),
            ("observability.topicArn", self.observability.topic_arn),
            ("observability.notifyTopicArn", self.observability.notify_topic_arn),
        ]

    @property
    def owned(self) -> Owned:
        """What a stage must have for itself."""
        place, queues, metrics = (self.account, self.region), self.queues, self.metrics
        return {
            "queues.video": queue_place(*place, queues.video),
            "queues.videoDeadLetter": queue_place(*place, queues.video_dead_letter),
            "workers.groupName": (*place, self.workers.group_name),
            "scaling.overrideParameter": (*place, self.scaling.override_parameter),
            "metrics": (*place, metrics.namespace, metrics.dimensions),
        }

    def named(self, name: str) -> Self:
        """Return a copy that has ``name`` in the values that tell stages apart and were not given."""
        names = {
            field: getattr(self.queues, field).replace("{stage}", name)
            for field in ("video", "video_dead_letter")
        }
        copy = super().named(name)
        return copy.model_copy(update={"queues": self.queues.model_copy(update=names)})


def stages_in(folder: Path = STAGES) -> dict[str, Any]:
    """The stages of a folder by name: each is a JSON file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def load(stages: object, name: str | None, overrides: str | None = None) -> StageFile:
    """Read one stage.

    Args:
        stages: from `stages_in`.
        name: which one, in lower case with hyphens; the context key ``stage``.
        overrides: a JSON object that is merged into the stage, for values that are only known when it is
            deployed; the context key ``overrides``.

    Raises:
        InvalidStage: the message begins with the key.
    """
    if not isinstance(stages, Mapping) or not stages:
        raise InvalidStage("stages: there is no file in stages/")
    if not name or name not in stages:
        raise InvalidStage(f"stage: must be one of {', '.join(sorted(stages))}, not {name!r}")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", name):
        raise InvalidStage(f"stages.{name}: a name has up to 30 lower case letters, digits and hyphens")
    values = stages[name]
    if overrides:
        try:
            values = merge(values, json.loads(overrides))
        except ValueError as exc:
            raise InvalidStage(f"overrides: not JSON ({exc})") from exc
    stage = _validated(values, name)
    try:
        refuse_sharing(stage.owned, _others(stages, name))
    except ValueError as exc:
        raise InvalidStage(f"stages.{name}.{exc}") from exc
    return stage


def _validated(values: object, name: str) -> StageFile:
    try:
        return StageFile.model_validate(values, by_alias=True, by_name=False).named(name)
    except ValidationError as exc:
        problems = (
            f"stages.{name}{''.join(f'.{part}' for part in error['loc'])}: {error['msg']}"
            for error in exc.errors()
        )
        raise InvalidStage("\n".join(problems)) from exc


def _others(stages: Mapping[str, object], name: str) -> Mapping[str, Owned]:
    """Return what the other stages own that are valid; those that are not can't be deployed.

    The stage ``local`` is left out: each local stack is an account of its own.
    """
    others = {}
    for other in stages.keys() - {name, "local"}:
        with suppress(InvalidStage):
            others[f"the stage {other}"] = _validated(stages[other], other).owned
    return others


def merge(below: Any, above: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return ``below`` with ``above`` merged in, object by object."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return above
