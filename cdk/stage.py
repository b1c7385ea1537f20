"""A stage of ``cdk.json``: typed, validated, and every error names the key."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel


class InvalidStage(Exception):
    """A stage can't be used; the message names the key and says what is wrong with it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


Seconds = Annotated[int, Field(ge=0)]
Arn = Annotated[str, Field(pattern=r"^arn:[\w-]+:[\w-]+:[\w-]*:\d*:.+$")]


class Network(_Part):
    """Where the functions that touch the database or Redis run."""

    vpc_id: str
    availability_zones: list[str] = Field(min_length=1)
    subnet_ids: list[str] = Field(min_length=1)
    security_group_ids: list[str] = Field(min_length=1)


class Database(_Part):
    """The platform's PostgreSQL, and how the functions sign in."""

    host: str
    name: str
    port: int = 5432
    user: str = ""
    secret_arn: Arn | None = None
    iam_resource_id: str | None = None
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ssl_root_cert: str = "system"

    @model_validator(mode="after")
    def _one_way_in(self) -> "Database":
        if self.secret_arn and self.iam_resource_id:
            raise ValueError("give secretArn or iamResourceId, not both")
        if not self.secret_arn and not self.user:
            raise ValueError("user is needed where there is no secretArn")
        return self


class Redis(_Part):
    """The Redis that holds the heartbeats."""

    url: str = Field(pattern=r"^rediss?://.+")
    secret_arn: Arn | None = None


class Queues(_Part):
    """The queues by name or ARN. ``create`` makes the video queue, its dead-letter queue and the others."""

    create: bool = False
    video: str = "academy-video-jobs"
    video_dead_letter: str = "academy-video-jobs-dlq"
    others: dict[str, list[str]] = Field(default_factory=dict)


class NewWorkers(_Part):
    """A worker group to be made: ``subnetIds``, and what each instance is."""

    image_id: str
    instance_type: str
    subnet_ids: list[str] = Field(default_factory=list)
    availability_zones: list[str] = Field(default_factory=list)
    security_group_ids: list[str] = Field(default_factory=list)
    instance_profile_arn: Arn | None = None
    user_data: str = ""
    min: Seconds = 1
    max: Seconds = 20


class Workers(_Part):
    """The Auto Scaling group of workers. ``create`` makes it."""

    group_name: str = "academy-video-worker-asg"
    create: NewWorkers | None = None


class Schedule(_Part):
    """How often the workflow starts."""

    enabled: bool = True
    rate_minutes: int = Field(default=1, ge=1, le=60)


class Reclaiming(_Part):
    """When a video counts as stuck, and how it is put back."""

    confirm_silence_seconds: Seconds = 60
    handoff_seconds: int = Field(default=900, ge=300, le=86_400)
    max_reclaims: int = Field(default=5, ge=0)
    max_concurrency: int = Field(default=5, ge=1, le=40)


class Scaling(_Part):
    """How the worker group follows the backlog."""

    mode: Literal["apply", "advise"] = "apply"
    videos_per_worker: int = Field(default=1, ge=1)
    scale_in_window_seconds: int = Field(default=1200, ge=120, multiple_of=60)
    max_step_out: int = Field(default=0, ge=0)
    override_parameter: str = Field(default="/academy/workers/video/scaling-override", pattern=r"^/[\w./-]+$")


class Metrics(_Part):
    """Where metrics go. ``dimensions`` are put on every metric but QueueDepth, which has WorkerType."""

    namespace: str = Field(default="Academy/Workers", pattern=r"^[^:]+$")
    dimensions: dict[str, str] = Field(default_factory=dict)


class Observability(_Part):
    """What is kept for people to look at."""

    log_retention: Literal[
        "ONE_DAY", "ONE_WEEK", "TWO_WEEKS", "ONE_MONTH", "THREE_MONTHS", "SIX_MONTHS", "ONE_YEAR"
    ] = "ONE_MONTH"
    log_execution_data: bool = False
    topic_arn: Arn | None = None
    runbook_url: str = ""


class Stage(_Part):
    """One deployment of the app."""

    account: str | None = Field(default=None, pattern=r"^\d{12}$")
    region: str | None = None
    bundle: Literal["aws", "host"] = "aws"
    network: Network | None = None
    database: Database
    redis: Redis
    queues: Queues = Field(default_factory=Queues)
    workers: Workers = Field(default_factory=Workers)
    schedule: Schedule = Field(default_factory=Schedule)
    reclaiming: Reclaiming = Field(default_factory=Reclaiming)
    scaling: Scaling = Field(default_factory=Scaling)
    metrics: Metrics = Field(default_factory=Metrics)
    observability: Observability = Field(default_factory=Observability)
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def strike_memory_seconds(self) -> int:
        """How long a first miss is remembered: long enough that the next runs can confirm it."""
        confirm_s, rate_s = self.reclaiming.confirm_silence_seconds, self.schedule.rate_minutes * 60
        return max(900, confirm_s + 3 * rate_s)


def load(stages: object, name: str | None, overrides: str | None = None) -> Stage:
    """Read one stage.

    Args:
        stages: the ``stages`` of cdk.json, by name.
        name: which one; the context key ``stage``.
        overrides: a JSON object that is merged into the stage, for values that are only known when it is
            deployed; the context key ``overrides``.

    Raises:
        InvalidStage: the message begins with the key.
    """
    if not isinstance(stages, Mapping) or not stages:
        raise InvalidStage("stages: cdk.json defines none")
    if name not in stages:
        raise InvalidStage(f"stage: must be one of {', '.join(sorted(stages))}, not {name!r}")
    values = stages[name]
    if overrides:
        try:
            values = _merge(values, json.loads(overrides))
        except ValueError as exc:
            raise InvalidStage(f"overrides: not JSON ({exc})") from exc
    try:
        return Stage.model_validate(values)
    except ValidationError as exc:
        problems = (
            f"stages.{name}{''.join(f'.{part}' for part in error['loc'])}: {error['msg']}"
            for error in exc.errors()
        )
        raise InvalidStage("\n".join(problems)) from exc


def _merge(below: Any, above: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}
    return above
