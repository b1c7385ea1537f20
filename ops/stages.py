"""Finding a stage: its region, its credentials, and for ``local`` the emulator."""

import json
import os
from pathlib import Path
from typing import Any

import boto3

from . import INSTALLED, ROOT
from .aws import Deployment
from .errors import Exit, OpsError

LOCAL = "local"


def connect(stage: str) -> Deployment:
    """Find a stage, and ask whether it is there.

    In a checkout ``local`` is the stack of `make up`, or the emulator that AWS_ENDPOINT_URL names: never AWS
    itself. For any other stage the credentials are those that the AWS CLI would use, and the region is the one in
    the stage's file, if that names one, else AWS_REGION, which boto3 does not read.

    Raises:
        OpsError: there is no such stage, no local stack runs, or the stage's file is not JSON.
    """
    region, endpoint = os.environ.get("AWS_REGION"), None
    if stage == LOCAL and not INSTALLED:
        endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), region or os.environ.get("AWS_DEFAULT_REGION")
        if not (endpoint and region):
            local = _read(ROOT / ".local" / "stack.json")
            if not local:
                raise OpsError("No local stack runs here: start one with `make up`.")
            endpoint, region = endpoint or local["endpoint_url"], local["region"]
        session = boto3.Session("test", "test", region_name=region)
    else:
        file = {} if INSTALLED else _read(ROOT / "stages" / f"{stage}.json")
        session = boto3.Session(region_name=file.get("region") or region)
    deployment = Deployment(stage, session, endpoint)
    deployment.publisher  # noqa: B018 (a call of AWS)
    return deployment


def _read(file: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    except ValueError as exc:
        raise OpsError(f"{file} is not JSON: {exc}", Exit.USAGE) from exc
    return read
