"""Errors that a command ends with, and the exit statuses of all commands."""

from enum import IntEnum

import botocore.exceptions as aws


class Exit(IntEnum):
    """Exit statuses."""

    DONE = 0
    NOT_DONE = 1  # it was tried and failed, or there is no answer
    USAGE = 2  # the command line is wrong; nothing was done
    NO_AWS = 3  # AWS or the local stack could not be reached, refused the call, or has no such stage


class OpsError(Exception):
    """The command can't go on; the message is one line for the operator, ``status`` the exit status."""

    def __init__(self, message: str, status: Exit = Exit.NO_AWS) -> None:
        super().__init__(message)
        self.status = status


def describe_aws_error(exc: aws.BotoCoreError | aws.ClientError) -> str:
    """Return one line that says what AWS or its client library refused, and what to do where that is known."""
    if isinstance(exc, aws.ClientError):
        error = exc.response.get("Error", {})
        message = " ".join(error.get("Message", "").split())
        return f"AWS refused {exc.operation_name}: {error.get('Code', 'unknown error')}: {message}"
    if isinstance(exc, aws.NoCredentialsError):
        return "No AWS credentials: set AWS_PROFILE, or sign in with `aws sso login` or `aws configure`."
    if isinstance(exc, aws.NoRegionError):
        return "No AWS region: set AWS_REGION, or write `region` into the stage's file."
    if isinstance(exc, (aws.ConnectionError, aws.HTTPClientError)):
        return f"AWS can't be reached: {' '.join(str(exc).split())}"
    return f"AWS can't be used: {' '.join(str(exc).split())}"
