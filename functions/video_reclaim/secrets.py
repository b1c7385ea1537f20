"""Credentials from Secrets Manager: fetched on first use, kept, and fetched anew once they stop working."""

import json
from functools import cache
from typing import TYPE_CHECKING

from video_reclaim import aws
from video_reclaim.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


@cache
def text(secret_arn: str) -> str:
    """The secret's string.

    Raises:
        StoreUnavailable: Secrets Manager did not answer, or denied. A retry asks again.
    """
    client: SecretsManagerClient = aws.client("secretsmanager")
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return client.get_secret_value(SecretId=secret_arn)["SecretString"]
    except KeyError:
        raise StoreUnavailable(f"the secret {secret_arn} holds bytes, not text") from None
    except (BotoCoreError, ClientError) as exc:
        raise StoreUnavailable(f"the secret {secret_arn} can't be read: {aws.reason(exc)}") from exc


def fields(secret_arn: str, *needed: str) -> dict[str, str]:
    """The fields of a secret in JSON form, such as RDS's ``{"username": …, "password": …}``.

    Raises:
        StoreUnavailable: it can't be read, is no JSON object or lacks a field that is ``needed``; the message
            never quotes what it holds.
    """
    try:
        value = json.loads(text(secret_arn))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise StoreUnavailable(f"the secret {secret_arn} is not a JSON object")
    if missing := [field for field in needed if not value.get(field)]:
        raise StoreUnavailable(f"the secret {secret_arn} has no {' and no '.join(missing)}")
    return {str(key): str(field) for key, field in value.items()}


def forget() -> None:
    """Drop what was fetched, so that the next use sees a rotated secret."""
    text.cache_clear()
