"""How every AWS client of the functions is made: late, once, and with bounded waiting."""

import threading
from typing import Any

clients: dict[str, Any] = {}
"""The clients that were made, by service."""

_making = threading.Lock()  # boto3 makes one client at a time (boto3, "Multithreading and multiprocessing")


def client(service: str) -> Any:  # noqa: ANN401 (each caller narrows it to the client of its service)
    """Return the client of one service, made on first use.

    A call gives up after 2 attempts of at most 2 s to connect and 5 s to answer, so that a function that
    can't reach one service still has the time to ask the next. The workflow's Retry waits longer.
    """
    with _making:
        if service not in clients:
            import boto3  # late: only functions that call AWS pay the third of a second
            from botocore.config import Config

            retries: Any = {"total_max_attempts": 2, "mode": "standard"}
            timeouts = Config(connect_timeout=2, read_timeout=5, retries=retries)
            clients[service] = boto3.client(service, config=timeouts)  # type: ignore[call-overload]
        return clients[service]


def describe(exc: Exception) -> str:
    """Return one line for a botocore error: its code, where AWS gave one, and its message."""
    return " ".join(str(exc).split()) or type(exc).__name__
