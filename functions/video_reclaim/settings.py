"""What each function reads from its environment: names, types, units and defaults in one place.

A field ``handoff_seconds`` is the variable ``HANDOFF_SECONDS``. A field without a default must be set.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import ClassVar, Protocol, TypeVar

from video_reclaim.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Where PostgreSQL is, and how to be let in.

    Attributes:
        database_host: host name.
        database_port: TCP port.
        database_name: the platform's database.
        database_user: for IAM or trust authentication; with a secret, the secret names the user.
        database_secret_arn: a Secrets Manager secret in RDS's JSON form (``username``, ``password``); '' for
            none.
        database_iam_auth: sign in with a short-lived RDS token.
        database_sslmode: libpq's; ``verify-full`` checks certificate and host name.
        database_sslrootcert: file of trusted roots; without one, nothing can be verified.
        database_connect_seconds: patience for a connection.
        database_statement_seconds: the server ends a statement after this.
    """

    database_host: str
    database_name: str
    database_port: int = 5432
    database_user: str = ""
    database_secret_arn: str = ""
    database_iam_auth: bool = False
    database_sslmode: str = "verify-full"
    database_sslrootcert: str = ""
    database_connect_seconds: int = 5
    database_statement_seconds: int = 20


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the heartbeats are.

    Attributes:
        redis_url: ``rediss://host:port/db`` for TLS, ``redis://`` without.
        redis_secret_arn: a Secrets Manager secret that holds the auth token, bare or as
            ``{"auth_token": …}`` or ``{"username": …, "password": …}``; '' for none.
        redis_sslrootcert: file of trusted roots; '' for the operating system's, as ElastiCache needs.
        redis_timeout_seconds: patience for a connection and for each answer.
    """

    redis_url: str
    redis_secret_arn: str = ""
    redis_sslrootcert: str = ""
    redis_timeout_seconds: int = 2


@dataclass(frozen=True, slots=True)
class StalenessSettings:
    """When a silent video counts as stuck.

    Attributes:
        confirm_silence_seconds: how long a heartbeat must have been missing under a live lease; 0 gives the
            platform's rule as it is.
        strike_memory_seconds: how long a first miss is remembered.
    """

    confirm_silence_seconds: int = 60
    strike_memory_seconds: int = 900


@dataclass(frozen=True, slots=True)
class ReclaimSettings:
    """How a reclaim is carried out.

    Attributes:
        handoff_seconds: how long a reclaimed video may take to reach the queue before another execution
            adopts it; longer than any function runs.
        max_reclaims: a video reclaimed more often within seven days is quarantined; 0 for no limit.
    """

    handoff_seconds: int = 900
    max_reclaims: int = 5


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Where jobs go.

    Attributes:
        queue_url: the video queue.
        handoff_seconds: see `ReclaimSettings`.
    """

    queue_url: str
    handoff_seconds: int = 900


@dataclass(frozen=True, slots=True)
class BacklogSettings:
    """What is measured, where it is published, and how the fleet follows.

    Attributes:
        queue_urls: by worker type, the queues whose depth is published; ``Video`` is among them.
        metric_namespace: CloudWatch namespace.
        metric_dimensions: dimensions of every metric but QueueDepth, which has WorkerType.
        auto_scaling_group: the worker group's name.
        scaling_mode: ``apply`` sets the group's desired capacity, ``advise`` only publishes DesiredWorkers.
        scaling_override_parameter: SSM parameter through which an operator overrides the decision.
        videos_per_worker: how many videos one worker transcodes at a time.
        scale_in_window_seconds: the fleet shrinks to the highest need within this window.
        measured_every_seconds: how far apart the workflow's starts are.
        max_step_out: the most workers to add at once; 0 for no cap.
    """

    queue_urls: Mapping[str, list[str]]
    auto_scaling_group: str
    metric_namespace: str = "Academy/Workers"
    metric_dimensions: Mapping[str, str] | None = None
    scaling_mode: str = "apply"
    scaling_override_parameter: str = "/academy/workers/video/scaling-override"
    videos_per_worker: int = 1
    scale_in_window_seconds: int = 1200
    measured_every_seconds: int = 60
    max_step_out: int = 0


class _Settings(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


T = TypeVar("T", bound=_Settings)


def read(kind: type[T], environment: Mapping[str, str] | None = None) -> T:
    """Read the settings of one kind.

    Args:
        kind: one of the dataclasses above.
        environment: the process's own by default.

    Raises:
        InvalidSetting: a variable is missing or can't be understood; the message names it.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for field in fields(kind):
        name = field.name.upper()
        text = environment.get(name, "")
        if text == "":
            if field.default is MISSING:
                raise InvalidSetting(name, "is not set")
            continue
        values[field.name] = _parse(name, text, str(field.type))
    return kind(**values)


def _parse(name: str, text: str, annotation: str) -> object:
    if "int" in annotation:
        if not text.isascii() or not text.isdecimal():
            raise InvalidSetting(name, f"must be a whole number of at least 0, not {text!r}")
        return int(text)
    if "bool" in annotation:
        if text not in ("true", "false"):
            raise InvalidSetting(name, f"must be true or false, not {text!r}")
        return text == "true"
    if "Mapping" in annotation:
        try:
            value = json.loads(text)
        except ValueError as exc:
            raise InvalidSetting(name, "must be a JSON object") from exc
        if not isinstance(value, dict):
            raise InvalidSetting(name, "must be a JSON object")
        return value
    return text
