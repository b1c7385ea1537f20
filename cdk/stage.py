"""A stage, a file of ``stages/``: typed, validated, and every error names the key."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

STAGES = Path(__file__).parent.parent / "stages"
CERTIFICATES = Path(__file__).parent / "certificates"

LISTING_CONNECTIONS = 4
"""Of a limited number of connections, those for ListStaleVideos and PublishBacklog: two each, since a run may
overlap with the next. Reclaim and Enqueue share the rest."""


class InvalidStage(Exception):
    """A stage can't be used; the message names the key and says what is wrong with it."""


class _Part(BaseModel):
    """A section. Its fields become variables of the functions, but for those with ``exclude=True``."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


Seconds = Annotated[int, Field(ge=0)]
Arn = Annotated[str, Field(pattern=r"^arn:[\w-]+:[\w-]+:[\w-]*:\d*:.+$")]
# Secrets Manager puts six random characters behind a secret's name: a grant without them covers nothing.
SecretArn = Annotated[str, Field(pattern=r"^arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:.+-\w{6}$")]
KeyArn = Annotated[str, Field(pattern=r"^arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+$")]
TopicArn = Annotated[str, Field(pattern=r"^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$")]
QueueName = Annotated[str, Field(pattern=r"^(arn:[\w-]+:sqs:[\w-]+:\d{12}:)?[\w-]{1,80}$")]  # FIFO queues: no


def _shipped(file: str) -> str:
    if "/" in file or not (CERTIFICATES / file).is_file():
        raise ValueError(f"there is no cdk/certificates/{file}; that folder is shipped with the functions")
    return file


RootCert = Annotated[str, AfterValidator(_shipped)]


class Network(_Part):
    """Where the functions run that touch the database or Redis; without it they run outside of any VPC."""

    subnet_ids: list[Annotated[str, Field(pattern="^subnet-")]] = Field(min_length=1)
    security_group_ids: list[Annotated[str, Field(pattern="^sg-")]] = Field(min_length=1)


class Database(_Part):
    """The platform's PostgreSQL, and how the functions sign in.

    ``maxConnections`` is what it can spare: where it is given, no function runs more often at once.
    """

    host: str = Field(min_length=1)
    name: str = Field(min_length=1)
    port: int = Field(default=5432, ge=1, le=65_535)
    user: str | None = None
    secret_arn: SecretArn | None = None
    secret_key_arn: KeyArn | None = Field(default=None, exclude=True)
    iam_resource_id: str | None = Field(default=None, pattern=r"^(db|cluster|prx)-[\w-]+$")
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ssl_root_cert: RootCert = "rds.pem"
    max_connections: int | None = Field(default=None, ge=LISTING_CONNECTIONS + 2, exclude=True)

    @model_validator(mode="after")
    def _one_way_in(self) -> "Database":
        if self.secret_arn and self.iam_resource_id:
            raise ValueError("give secretArn or iamResourceId, not both")
        if not self.secret_arn and not self.user:
            raise ValueError("user is needed where there is no secretArn")
        if self.iam_resource_id and self.ssl_mode == "disable":
            raise ValueError("iamResourceId needs TLS: sslMode must not be disable")
        return self


class Redis(_Part):
    """The Redis that holds the heartbeats. Without ``sslRootCert`` the system's public roots are trusted."""

    url: str = Field(pattern=r"^rediss?://.+")
    secret_arn: SecretArn | None = None
    secret_key_arn: KeyArn | None = Field(default=None, exclude=True)
    ssl_root_cert: RootCert | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> "Redis":
        if "@" in self.url:
            raise ValueError("url must hold no password: put it into a secret and name that in secretArn")
        if self.ssl_root_cert and not self.url.startswith("rediss://"):
            raise ValueError("sslRootCert needs TLS: a url that begins with rediss://")
        return self


class Queues(_Part):
    """The queues by name or ARN. ``create`` makes the video queue, its dead-letter queue and the others."""

    create: bool = False
    video: QueueName = "academy-video-jobs"
    video_dead_letter: QueueName = "academy-video-jobs-dlq"
    video_key_arn: KeyArn | None = None
    others: dict[str, Annotated[list[QueueName], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sensible(self) -> "Queues":
        if self.create and any(":" in name for name in self.names):
            raise ValueError("with create, queues are given by name")
        if "Video" in self.others:
            raise ValueError("others: Video is the worker type of the video queue itself")
        return self

    @property
    def names(self) -> list[str]:
        """Every queue, by name or ARN."""
        return [
            self.video,
            self.video_dead_letter,
            *(name for names in self.others.values() for name in names),
        ]


class NewWorkers(_Part):
    """A worker group to be made: where, and what each instance is. ``rootDevice`` is the image's."""

    image_id: str
    instance_type: str
    subnet_ids: list[str] = Field(default_factory=list)
    availability_zones: list[str] = Field(default_factory=list)
    security_group_ids: list[str] = Field(default_factory=list)
    instance_profile_arn: Arn | None = None
    user_data: str = ""
    root_device: str = "/dev/xvda"
    disk_gib: int = Field(default=100, ge=8)
    min: Seconds = 1
    max: Seconds = 20


class Workers(_Part):
    """The Auto Scaling group of workers. ``create`` makes it."""

    group_name: str = "academy-video-worker-asg"
    create: NewWorkers | None = Field(default=None, exclude=True)


class Schedule(_Part):
    """How often the workflow starts."""

    enabled: bool = Field(default=True, exclude=True)
    rate_minutes: int = Field(default=1, ge=1, le=60)


class Reclaiming(_Part):
    """When a video counts as stuck, and how it is put back."""

    confirm_silence_seconds: Seconds = 30
    handoff_seconds: int = Field(default=900, ge=300, le=86_400)
    max_reclaims: int = Field(default=5, ge=0)
    mass_silence_seconds: Seconds = 600
    lost_after_seconds: int = Field(default=900, ge=900)
    lost_messages: Literal["resend", "report"] = "resend"
    expired_but_beating: Literal["reclaim", "spare"] = "reclaim"
    max_concurrency: int = Field(default=5, ge=1, le=40, exclude=True)


class Scaling(_Part):
    """How the worker group follows the backlog."""

    mode: Literal["apply", "advise"] = "apply"
    videos_per_worker: int = Field(default=1, ge=1)
    spare_workers: int = Field(default=1, ge=0)
    peak_window_seconds: int = Field(default=120, ge=60, multiple_of=60)
    scale_in_window_seconds: int = Field(default=1200, ge=120, multiple_of=60)
    max_step_out: int | None = Field(default=None, ge=1)
    override_parameter: str = Field(default="/academy/workers/video/scaling-override", pattern=r"^/[\w./-]+$")


class Metrics(_Part):
    """Where metrics go. ``dimensions`` are put on every metric but QueueDepth, which has WorkerType."""

    namespace: str = Field(default="Academy/Workers", pattern=r"^[^:]+$")
    dimensions: dict[str, str] = Field(default_factory=dict)


class AlarmSetting(_Part):
    """Threshold of one alarm, in the unit of its metric, and whether the alarm exists."""

    threshold: float | None = Field(default=None, ge=0)
    enabled: bool = True


class Observability(_Part):
    """Logs, and the topics that the alarms notify.

    Alarms that somebody has to act on now notify ``topicArn``; the others notify ``notifyTopicArn``, or ``topicArn``
    where that is not set. ``alarms`` changes single alarms by name. ``runbookUrl`` is where operators read
    docs/runbook.md; each alarm links to its own entry there.
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

    @model_validator(mode="after")
    def _fits_together(self) -> "Stage":
        lanes, database = self.reclaiming.max_concurrency, self.database
        needed = LISTING_CONNECTIONS + 2 * lanes
        if database.max_connections is not None and database.max_connections < needed:
            raise ValueError(
                f"database.maxConnections must be at least {needed} for reclaiming.maxConcurrency {lanes}"
            )
        calm_s, peak_s = 120 * self.schedule.rate_minutes, self.scaling.peak_window_seconds
        if self.scaling.scale_in_window_seconds < peak_s:
            raise ValueError(
                f"scaling.peakWindowSeconds: {peak_s} is longer than scaling.scaleInWindowSeconds"
            )
        if self.scaling.scale_in_window_seconds < calm_s:
            raise ValueError(
                f"scaling.scaleInWindowSeconds must be at least {calm_s} for schedule.rateMinutes "
                f"{self.schedule.rate_minutes}: twice as long as measurements are apart"
            )
        for arn in (name for name in self.queues.names if name.startswith("arn:")):
            if self.region and arn.split(":")[3] != self.region:
                raise ValueError(f"queues: {arn} is not in the stage's region, {self.region}")
        if self.region and database.ssl_mode.startswith("verify") and database.ssl_root_cert == "rds.pem":
            roots = (CERTIFICATES / "rds.pem").read_text()
            if f"Amazon RDS {self.region} Root CA" not in roots:
                raise ValueError(
                    f"database.sslRootCert: cdk/certificates/rds.pem has no root for {self.region}; "
                    "put AWS's own bundle for it into cdk/certificates/ and name that file"
                )
        return self


def stages_in(folder: Path = STAGES) -> dict[str, Any]:
    """The stages of a folder by name: each is a JSON file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def load(stages: object, name: str | None, overrides: str | None = None) -> Stage:
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
