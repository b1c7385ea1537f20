"""Credentials from Secrets Manager, read whenever a connection is made: a secret may be rotated at any time."""

from typing import TYPE_CHECKING, Any

from video_reclaim import aws
from video_reclaim.conversion import Malformed, from_json
from video_reclaim.errors import SecretUnavailable

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def fields(secret_arn: str, *needed: str, bare: str = "") -> dict[str, str]:
    """Return the fields of a secret in JSON form, such as RDS's ``{"username": …, "password": …}``.

    A text in another form is the field ``bare``, where that is given.

    Raises:
        SecretUnavailable: it can't be read, is not a JSON object or lacks a field that is ``needed``. The
            message never quotes what the secret holds.
    """
    client: SecretsManagerClient = aws.client("secretsmanager")
    from botocore.exceptions import BotoCoreError, ClientError  # late, as boto3 itself: see `aws`

    try:
        text = client.get_secret_value(SecretId=secret_arn)["SecretString"]
        value = {bare: text} if bare and not text.startswith("{") else from_json(text, dict[str, Any])
    except KeyError:
        raise SecretUnavailable(f"the secret {secret_arn} holds bytes, not text") from None
    except Malformed:
        raise SecretUnavailable(f"the secret {secret_arn} is not a JSON object") from None
    except (BotoCoreError, ClientError) as exc:
        raise SecretUnavailable(f"the secret {secret_arn} can't be read: {aws.describe(exc)}") from exc
    if missing := [field for field in needed if not value.get(field)]:
        raise SecretUnavailable(f"the secret {secret_arn} has no {' and no '.join(missing)}")
    return {name: str(field) for name, field in value.items()}
