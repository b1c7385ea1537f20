"""Finding a stage: its region, its credentials, and for ``local`` the emulator."""

import json
import os
from pathlib import Path
from typing import Any

import boto3

from ops.aws import Deployment
from ops.errors import Exit, OpsError

ROOT = Path(__file__).resolve().parents[1]
LOCAL = "local"


def connect(stage: str) -> "Deployment":
    """Find a stage; the first call is made on first use.

    ``local`` is the stack of `make up`, or the emulator that AWS_ENDPOINT_URL names: never AWS itself. For any
    other stage the credentials are those that the AWS CLI would use, and the region is the one in the stage's
    file, if that names one.

    Raises:
        OpsError: no local stack runs, or the stage's file is not JSON.
    """
    if stage == LOCAL:
        return Deployment(stage, _local_session(), _local_endpoint())
    return Deployment(stage, boto3.Session(region_name=_region_of(stage)), None)


def _local_stack() -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads((ROOT / ".local" / "stack.json").read_text())
    except FileNotFoundError:
        raise OpsError("No local stack runs here: start one with `make up`.") from None
    return described


def _local_endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL") or str(_local_stack()["endpoint_url"])


def _local_session() -> boto3.Session:
    given = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = given if os.environ.get("AWS_ENDPOINT_URL") and given else "us-east-1"
    return boto3.Session("test", "test", region_name=region)  # the emulator accepts any


def _region_of(stage: str) -> str | None:
    """Return the region in the stage's file, else AWS_REGION, else None for what boto3 finds by itself."""
    file = ROOT / "stages" / f"{stage}.json"
    try:
        read: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        read = {}
    except ValueError as exc:
        raise OpsError(f"{file} is not JSON: {exc}", Exit.USAGE) from exc
    return read.get("region") or os.environ.get("AWS_REGION")  # boto3 reads AWS_DEFAULT_REGION only
