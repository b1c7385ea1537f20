"""Refuse what can't work where it is deployed: things of another region, account or deployment.

Each function raises ValueError with a message that begins with the key, or the argument, that is to be changed.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .fields import is_token
from .sections import CERTIFICATES, SHIPPED_ROOTS, Database, Redis

if TYPE_CHECKING:  # reading a stage's file must not start the CDK
    from aws_cdk import Stack
    from aws_cdk.aws_sqs import IQueue

_UNSEEN = (
    "the alarm VideoDeadLetters sees only queues of its own account and region, and {} may be in another; name a "
    "queue of the same account and region"
)


def secrets_and_keys(database: Database, redis: Redis) -> list[tuple[str, str | None]]:
    """The ARNs that are read from the functions' own region, by key."""
    return [
        ("database.secretArn", database.secret_arn),
        ("database.secretKeyArn", database.secret_key_arn),
        ("redis.secretArn", redis.secret_arn),
        ("redis.secretKeyArn", redis.secret_key_arn),
    ]


def refuse_other_regions(arns: Iterable[tuple[str, str | None]], region: str) -> None:
    """Refuse ARNs of another region; a name and a token have none."""
    for key, arn in arns:
        if arn and arn.startswith("arn:") and not is_token(region) and arn.split(":")[3] != region:
            raise ValueError(f"{key}: {arn} is not in the region of the functions, {region}")


def refuse_foreign_dead_letters(queue: str, account: str | None, region: str | None) -> None:
    """Refuse a dead-letter queue that may be in another account or region, where no alarm sees its metrics."""
    if not queue.startswith("arn:"):
        return
    if account is None or region is None:
        raise ValueError(
            f"queues.videoDeadLetter: with an ARN, give account and region too: {_UNSEEN.format(queue)}"
        )
    if queue.split(":")[3:5] != [region, account]:
        raise ValueError(f"queues.videoDeadLetter: {_UNSEEN.format(queue)}")


def refuse_queues(
    video: "IQueue", dead_letters: "IQueue", others: Mapping[str, object], stack: "Stack"
) -> None:
    """Refuse queues that the workflow can't send to or that its alarms can't see."""
    if video.fifo:
        raise ValueError("video_queue: must not be a FIFO queue")
    if "Video" in others:
        raise ValueError("other_queues: Video is the worker type of video_queue itself")
    for its, own in ((dead_letters.env.account, stack.account), (dead_letters.env.region, stack.region)):
        if not is_token(its) and not is_token(own) and its != own:
            raise ValueError(f"video_dead_letter_queue: {_UNSEEN.format(its)}")


def refuse_missing_roots(database: Database, region: str) -> None:
    """Refuse a database that could not be verified, because the shipped roots don't cover its region.

    A region that is only known when the stack is deployed is accepted.
    """
    verified = database.ssl_mode.startswith("verify")
    if not verified or database.ssl_root_cert != SHIPPED_ROOTS or is_token(region):
        return
    if f"Amazon RDS {region} Root CA" not in (CERTIFICATES / SHIPPED_ROOTS).read_text():
        raise ValueError(
            f"database.sslRootCert: the shipped {SHIPPED_ROOTS} has no root for {region}; give the path of AWS's own "
            "bundle for it"
        )


Owned = Mapping[str, tuple[object, ...]]
"""What a deployment must have for itself, by key: account, region and name of each; None may be any."""


def refuse_sharing(mine: Owned, others: Mapping[str, Owned]) -> None:
    """Refuse a deployment that works on the same things as another."""
    for other, theirs in sorted(others.items()):
        for key, there in theirs.items():
            if all(
                one is None or another is None or one == another
                for one, another in zip(mine[key], there, strict=True)
            ):
                raise ValueError(
                    f"{key}: must not be the same as that of {other}; where account or region is not given, they "
                    "count as the same"
                )


def queue_place(account: str | None, region: str | None, name: str) -> tuple[str | None, str | None, str]:
    """Account, region and name of a queue that is given by name or ARN."""
    if not name.startswith("arn:"):
        return account, region, name
    *_, region, account, name = name.split(":")
    return account, region, name
