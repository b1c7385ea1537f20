"""SSM Parameter Store: the operator's order."""

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from video_reclaim import aws, log

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient


def read_parameter(name: str) -> tuple[str | None, bool]:
    """Return the parameter's text, None if there is no such parameter; and whether it could be read at all."""
    ssm: SSMClient = aws.client("ssm")
    try:
        return ssm.get_parameter(Name=name)["Parameter"]["Value"], True
    except ssm.exceptions.ParameterNotFound:
        return None, True
    except (BotoCoreError, ClientError) as exc:
        log.warning("override unknown", parameter=name, error=type(exc).__name__, cause=aws.describe(exc))
        return None, False
