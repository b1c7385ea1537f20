"""The sections of a stage about the platform: network, database, Redis, queues and workers."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from .fields import (
    KeyArn,
    Port,
    QueueName,
    ResourceId,
    SecretArn,
    Section,
    SecurityGroupId,
    SubnetId,
    TokenOr,
)

CERTIFICATES = Path(__file__).parent / "certificates"
SHIPPED_ROOTS = "rds.pem"

LISTING_CONNECTIONS = 4
"""Connections for ListStaleVideos and PublishBacklog where their number is limited: two each, since a run may
overlap with the next. Reclaim and Enqueue share the rest."""


def certificate(given: str) -> Path:
    """Return the file of root certificates: a shipped one by its name, another one by a path with a slash."""
    return Path(given) if "/" in given else CERTIFICATES / given


def _existing_certificate(given: str) -> str:
    if not certificate(given).is_file():
        raise ValueError(
            f"there is no file {given}; {SHIPPED_ROOTS} is shipped, another one is given by its path"
        )
    return given


# The functions are told the name: the file is in a layer.
RootCert = Annotated[
    str, AfterValidator(_existing_certificate), PlainSerializer(lambda given: Path(given).name)
]


class Network(Section):
    """Subnets and security groups of the functions; without a network they run outside any VPC."""

    subnet_ids: list[SubnetId] = Field(min_length=1)
    security_group_ids: list[SecurityGroupId] = Field(min_length=1)


class Database(Section):
    """The platform's PostgreSQL, and how the functions sign in.

    ``maxConnections`` is the number of connections that it can spare: where it is given, no function runs more
    often at once.
    """

    host: str = Field(min_length=1)
    name: str = Field(min_length=1)
    port: Port = 5432
    user: str | None = None
    secret_arn: SecretArn | None = None
    secret_key_arn: KeyArn | None = Field(default=None, exclude=True)
    iam_resource_id: ResourceId | None = None
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    ssl_root_cert: RootCert = SHIPPED_ROOTS
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


class Redis(Section):
    """The Redis that holds the heartbeats. Without ``sslRootCert`` the system's public roots are trusted."""

    url: Annotated[str, Field(pattern=r"^rediss?://.+"), TokenOr]
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


class QueueNames(Section):
    """The queues by name or ARN. ``create`` makes the video queue, its dead-letter queue and the others."""

    create: bool = False
    video: QueueName = "video-jobs-{stage}"
    video_dead_letter: QueueName = "video-jobs-{stage}-dlq"
    video_key_arn: KeyArn | None = None
    others: dict[str, Annotated[list[QueueName], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sensible(self) -> "QueueNames":
        if self.create and any(":" in name for name in self.names):
            raise ValueError("with create, queues are given by name")
        if "Video" in self.others:
            raise ValueError("others: Video is the worker type of the video queue itself")
        for field, key in (("video", "video"), ("video_dead_letter", "videoDeadLetter")):
            if not self.create and field not in self.model_fields_set:
                raise ValueError(f"{key} is needed where create is not true")
        return self

    @property
    def names(self) -> list[str]:
        """Every queue, by name or ARN."""
        return [
            self.video,
            self.video_dead_letter,
            *(name for names in self.others.values() for name in names),
        ]


class Workers(Section):
    """The Auto Scaling group of workers."""

    group_name: str = Field(min_length=1)
