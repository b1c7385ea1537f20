"""How every AWS client of this product is made: late, once, and with bounded patience."""

from functools import cache
from typing import Any


@cache
def client(service: str) -> Any:  # noqa: ANN401 (each caller narrows it to its own service's client)
    """The client of one service, made on first use.

    A call gives up after 2 attempts of 2 s to connect and 5 s to answer: a function that finds one service
    out of reach still has the time to ask the next. More patience belongs to the workflow's Retry.
    """
    import boto3  # late: a third of a second that only functions which call AWS pay
    from botocore.config import Config

    patience = Config(
        connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"}
    )
    return boto3.client(service, config=patience)  # type: ignore[call-overload]


def reason(exc: Exception) -> str:
    """One line for a botocore error: its code where AWS gave one, and its message."""
    return " ".join(str(exc).split()) or type(exc).__name__
