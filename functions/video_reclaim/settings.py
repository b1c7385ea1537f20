"""The settings of the functions, read from the environment.

A class is a section of a stage and a field is a key of it; both together name the environment variable:
``handoff_seconds`` of `Reclaiming` is ``RECLAIMING_HANDOFF_SECONDS`` and ``reclaiming.handoffSeconds`` in a stage.
The defaults stand in ``cdk/stage.py`` alone: here every variable must be set, except where None is allowed,
which is a variable that is absent or empty.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

import msgspec

from video_reclaim.conversion import Malformed, from_builtins, from_json
from video_reclaim.errors import InvalidSetting
from video_reclaim.metrics import VIDEO
from video_reclaim.rules.execution_input import ExecutionInput
from video_reclaim.rules.staleness import Criteria
from video_reclaim.scaling.records import Scaling as Scaling  # a section like the others; decisions record it

LAYERS = "/opt"
"""Where Lambda unpacks the layers, and with them the certificates."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Database(msgspec.Struct, frozen=True):
    """Where PostgreSQL is, and how to sign in: by a secret in RDS's JSON form, by an RDS token, or as ``user``."""

    host: str
    port: Positive
    name: str
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"]
    statement_seconds: Positive  # the server ends a statement after this time
    user: str | None = None
    secret_arn: str | None = None
    iam_resource_id: str | None = None  # only the policy needs the id itself
    ssl_root_cert: str | None = None  # below LAYERS; without one nothing can be verified


class Redis(msgspec.Struct, frozen=True):
    """Where the heartbeats are.

    The secret holds the auth token, bare or as ``{"auth_token": …}`` or ``{"username": …, "password": …}``.
    """

    url: str
    secret_arn: str | None = None
    ssl_root_cert: str | None = None  # below LAYERS; None for the system's roots, which know ElastiCache

    @property
    def root_cert_file(self) -> str | None:
        """Full path of the file of trusted roots."""
        return str(Path(LAYERS) / self.ssl_root_cert) if self.ssl_root_cert else None


class Reclaiming(msgspec.Struct, frozen=True):
    """When a video counts as stuck, and how it is put back: see the table of settings in docs/."""

    silent_after_seconds: Positive
    handoff_seconds: Positive
    max_reclaims: Count
    mass_silence_seconds: Count
    lost_after_seconds: Positive
    expired_but_beating: Literal["reclaim", "spare"]


class Stage(msgspec.Struct, frozen=True):
    """The deployment: its name tells it from others that may use the same Redis."""

    name: str


class Schedule(msgspec.Struct, frozen=True):
    """How often the workflow starts."""

    rate_minutes: Positive


class Queues(msgspec.Struct, frozen=True):
    """The queues whose depth is published, by worker type; of ``Video`` there is one."""

    urls: dict[str, list[str]]

    @property
    def video_url(self) -> str:
        """URL of the queue that reclaimed videos are sent to."""
        return self.urls[VIDEO][0]


class Metrics(msgspec.Struct, frozen=True):
    """Where metrics are published, and the dimensions of all but QueueDepth, which has WorkerType."""

    namespace: str
    dimensions: dict[str, str]


class Workers(msgspec.Struct, frozen=True):
    """The Auto Scaling group of the workers."""

    group_name: str


T = TypeVar("T", bound=msgspec.Struct)


def variable(section: type[msgspec.Struct], field: str) -> str:
    """Return the name of the environment variable of a field."""
    return f"{section.__name__}_{field}".upper()


def read(section: type[T], environment: Mapping[str, str] | None = None) -> T:
    """Read one section from the environment of the process, or from ``environment``.

    Numbers and booleans are written as in JSON, lists and objects are JSON text.

    Raises:
        InvalidSetting: a variable is missing or malformed; the message starts with its name.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(section):
        name = variable(section, field.name)
        text = environment.get(name)
        if not text:
            if field.required:
                raise InvalidSetting(f"{name}: is not set")
            continue
        try:
            if get_origin(field.type) is dict:
                values[field.name] = from_json(text, field.type)
            else:
                values[field.name] = from_builtins(text, field.type, strict=False)
        except Malformed as exc:
            raise InvalidSetting(f"{name}: {exc.problem}") from exc
    return section(**values)


def criteria_for(request: ExecutionInput) -> Criteria:
    """Return how strictly an execution judges videos. Raises InvalidSetting."""
    reclaiming = read(Reclaiming)
    return Criteria(
        silent_after_s=reclaiming.silent_after_seconds,
        mass_silence_s=reclaiming.mass_silence_seconds,
        lost_after_s=reclaiming.lost_after_seconds,
        spare_beating=reclaiming.expired_but_beating == "spare",
        terminated=request.terminated,
        released=request.release,
    )
