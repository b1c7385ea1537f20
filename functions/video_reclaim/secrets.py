"""Credentials from Secrets Manager: fetched on first use, kept, and fetched again when they no longer work."""

from functools import cache
from typing import TYPE_CHECKING, Any

from video_reclaim import aws
from video_reclaim.errors import SecretUnavailable
from video_reclaim.records import Malformed, from_json

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


@cache
def text(secret_arn: str) -> str:
    """Return the secret's string.

    Raises:
        SecretUnavailable: Secrets Manager did not answer, or denied. A retry asks again.
    """
    client: SecretsManagerClient = aws.client("secretsmanager")
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return client.get_secret_value(SecretId=secret_arn)["SecretString"]
    except KeyError:
        raise SecretUnavailable(f"the secret {secret_arn} holds bytes, not text") from None
    except (BotoCoreError, ClientError) as exc:
        raise SecretUnavailable(f"the secret {secret_arn} can't be read: {aws.describe(exc)}") from exc


def fields(secret_arn: str, *needed: str) -> dict[str, str]:
    """Return the fields of a secret in JSON form, such as RDS's ``{"username": …, "password": …}``.

    Raises:
        SecretUnavailable: it can't be read, is not a JSON object or lacks a field that is ``needed``. The
            message never quotes what the secret holds.
    """
    try:
        value = from_json(text(secret_arn), dict[str, Any])
    except Malformed:
        raise SecretUnavailable(f"the secret {secret_arn} is not a JSON object") from None
    if missing := [field for field in needed if not value.get(field)]:
        raise SecretUnavailable(f"the secret {secret_arn} has no {' and no '.join(missing)}")
    return {name: str(field) for name, field in value.items()}


def forget() -> None:
    """Drop what was fetched, so that the next use reads a rotated secret."""
    text.cache_clear()
