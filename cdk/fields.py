"""The types of a stage's values.

A value that is only known when the stack is deployed is a token of the CDK, a string with ``${Token[`` in it
("Tokens and the AWS CDK", CDK Developer Guide). Every type accepts a token in place of its own form, so that
constructs of another app can be passed on.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WrapValidator
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """A section. Its fields become variables of the functions, but for those with ``exclude=True``.

    In a stage's file the keys are in camel case; in Python the fields are in snake case.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, strict=True, populate_by_name=True
    )


def is_token(value: object) -> bool:
    """Whether a value is only known when the stack is deployed."""
    return isinstance(value, str) and "${Token[" in value


def _token_or(value: Any, valid: Callable[[Any], Any]) -> Any:  # noqa: ANN401 (pydantic's signature)
    return value if is_token(value) else valid(value)


TokenOr = WrapValidator(_token_or)
Seconds = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65_535), TokenOr]
# Secrets Manager puts six random characters behind a secret's name: a grant without them covers nothing.
SecretArn = Annotated[
    str, Field(pattern=r"^arn:[\w-]+:secretsmanager:[\w-]+:\d{12}:secret:.+-[\w?]{6}$"), TokenOr
]
KeyArn = Annotated[str, Field(pattern=r"^arn:[\w-]+:kms:[\w-]+:\d{12}:key/[\w-]+$"), TokenOr]
TopicArn = Annotated[str, Field(pattern=r"^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$"), TokenOr]
# FIFO queues are not supported.
QueueName = Annotated[str, Field(pattern=r"^(arn:[\w-]+:sqs:[\w-]+:\d{12}:)?[\w-]{1,80}$"), TokenOr]
ResourceId = Annotated[str, Field(pattern=r"^(db|cluster|prx)-[\w-]+$"), TokenOr]
SubnetId = Annotated[str, Field(pattern="^subnet-"), TokenOr]
SecurityGroupId = Annotated[str, Field(pattern="^sg-"), TokenOr]


def _not_reserved(namespace: str) -> str:
    # "Namespaces", CloudWatch User Guide.
    if namespace.startswith("AWS/"):
        raise ValueError("AWS/ is reserved for AWS's own metrics")
    return namespace


def _valid_dimensions(dimensions: dict[str, str]) -> dict[str, str]:
    # "Dimension", CloudWatch API Reference; PutMetricData takes up to 30 a metric.
    if len(dimensions) > 30:
        raise ValueError("a metric has up to 30 dimensions")
    for name, value in dimensions.items():
        if not name.strip() or name.startswith(":") or not name.isascii() or len(name) > 255:
            raise ValueError(f"{name!r} is no name of a dimension")
        if name == "WorkerType":
            raise ValueError("WorkerType is the dimension of QueueDepth")
        if not is_token(value) and (not value.strip() or not value.isascii() or len(value) > 1024):
            raise ValueError(f"{name}: {value!r} is no value of a dimension")
    return dimensions


def _valid_parameter(name: str) -> str:
    # "PutParameter", Systems Manager API Reference.
    if name.lower().startswith(("/aws", "/ssm")):
        raise ValueError("a name must not begin with /aws or /ssm, which are reserved")
    if name.count("/") > 15 or len(name) > 900:
        raise ValueError("a name has up to 15 levels and 900 characters")
    return name


def _valid_tags(tags: dict[str, str]) -> dict[str, str]:
    # "Tag naming limits and requirements", Tagging AWS Resources; two tags are the app's own.
    if len(tags) > 48:
        raise ValueError("a resource has up to 50 tags, of which application and stage are set already")
    for key, value in tags.items():
        if not re.fullmatch(r"[\w\s.:/=+@-]{1,128}", key) or key.lower().startswith("aws:"):
            raise ValueError(f"{key!r} is no key of a tag")
        if not is_token(value) and not re.fullmatch(r"[\w\s.:/=+@-]{0,256}", value):
            raise ValueError(f"{key}: {value!r} is no value of a tag")
    return tags


Namespace = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_./#-]{1,255}$"), AfterValidator(_not_reserved), TokenOr
]
Dimensions = Annotated[dict[str, str], AfterValidator(_valid_dimensions)]
OverrideParameter = Annotated[str, Field(pattern=r"^/[\w./-]+$"), AfterValidator(_valid_parameter), TokenOr]
Tags = Annotated[dict[str, str], AfterValidator(_valid_tags)]
