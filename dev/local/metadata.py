"""A stand-in for the instance metadata service, which the emulator serves beside AWS's APIs.

On EC2 each instance has the service at http://169.254.169.254. Here the one of an instance is at
``ENDPOINT/instances/INSTANCE_ID``, which `url` returns. It answers as IMDSv2 does: a PUT to ``latest/api/token``
gives a token, without which a GET is refused. ("Use the Instance Metadata Service to access instance metadata",
Amazon EC2 User Guide)

Nothing runs on the emulator's instances. The first question for the metadata of one stands for the start of a
worker on it (`RUNS_A_WORKER`).
"""

# ruff: noqa: ANN401 - ministack's objects have no types

import re
from collections.abc import Awaitable, Callable
from typing import Any

_PATH = re.compile(r"/instances/(i-[0-9a-f]+)/latest/(.+)")
_TOKEN = b"x-aws-ec2-metadata-token"
_ISSUED = b"this-emulator-s-token"

RUNS_A_WORKER = "RunsAWorker"
"""Key in ministack's record of an instance whose metadata has been read."""

Application = Callable[[Any, Any, Any], Awaitable[None]]


def url(endpoint_url: str, instance: str) -> str:
    """Return the address that stands for http://169.254.169.254 on an instance of the emulator."""
    return f"{endpoint_url}/instances/{instance}"


def beside(app: Application) -> Application:
    """Return an ASGI application that serves the metadata of instances, and everything else from ``app``."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        asked = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await app(scope, receive, send)
            return
        status, body = _answer(scope["method"], asked[1], asked[2], dict(scope["headers"]))
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


def _answer(method: str, instance: str, item: str, headers: dict[bytes, bytes]) -> tuple[int, bytes]:
    if (method, item) == ("PUT", "api/token"):
        return 200, _ISSUED
    if headers.get(_TOKEN) != _ISSUED:
        return 401, b""
    found = _find(instance)
    if found is None or item != "meta-data/autoscaling/target-lifecycle-state":
        return 404, b""
    found[RUNS_A_WORKER] = True
    return 200, b"Terminated" if found["LifecycleState"].startswith("Terminating") else b"InService"


def _find(instance: str) -> dict[str, Any] | None:
    from ministack.services import autoscaling

    groups = [group for _, group in autoscaling._asgs.all_items()]
    members: list[dict[str, Any]] = [member for group in groups for member in group["Instances"]]
    return next((member for member in members if member["InstanceId"] == instance), None)
