"""Refuse what can't work where it is deployed: things of another region, account or stage."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .fields import is_token
from .platform import CERTIFICATES, Database

if TYPE_CHECKING:  # reading a stage's file must not start the CDK
    from aws_cdk import Stack
    from aws_cdk.aws_sqs import IQueue

    from .stage import StageFile


def refuse_other_regions(stage: "StageFile", region: str) -> None:
    """Refuse ARNs and zones of another region; a name and a token have none.

    Raises:
        ValueError: the message begins with the key.
    """
    observability = stage.observability
    arns = {
        "database.secretArn": stage.database.secret_arn,
        "database.secretKeyArn": stage.database.secret_key_arn,
        "redis.secretArn": stage.redis.secret_arn,
        "redis.secretKeyArn": stage.redis.secret_key_arn,
        "queues.videoKeyArn": stage.queues.video_key_arn,
        "encryptionKeyArn": stage.encryption_key_arn,
        "observability.topicArn": observability.topic_arn,
        "observability.notifyTopicArn": observability.notify_topic_arn,
    }
    for key, arn in [*arns.items(), *(("queues", name) for name in stage.queues.names)]:
        if arn and arn.startswith("arn:") and arn.split(":")[3] != region:
            raise ValueError(f"{key}: {arn} is not in the stage's region, {region}")
    for zone in stage.workers.create.availability_zones if stage.workers.create else ():
        if not zone.startswith(region):
            raise ValueError(
                f"workers.create.availabilityZones: {zone} is not in the stage's region, {region}"
            )


def refuse_foreign_dead_letters(stage: "StageFile") -> None:
    """Refuse a dead-letter queue that may be in another account or region, where no alarm sees its metrics.

    Raises:
        ValueError: the message begins with the key.
    """
    queue = stage.queues.video_dead_letter
    if not queue.startswith("arn:"):
        return
    if stage.account is None or stage.region is None:
        raise ValueError(
            f"queues.videoDeadLetter: with an ARN, give account and region too: {_UNSEEN.format(queue)}"
        )
    if queue.split(":")[3:5] != [stage.region, stage.account]:
        raise ValueError(f"queues.videoDeadLetter: {_UNSEEN.format(queue)}")


_UNSEEN = (
    "the alarm VideoDeadLetters sees only queues of its own account and region, and {} may be in another; name a "
    "queue of the same account and region"
)


def refuse_unseen_queue(dead_letters: "IQueue", stack: "Stack") -> None:
    """Refuse the dead-letter queue of another account or region than the stack's, where both are known.

    Raises:
        ValueError: the message begins with the key.
    """
    for its, own in ((dead_letters.env.account, stack.account), (dead_letters.env.region, stack.region)):
        if not is_token(its) and not is_token(own) and its != own:
            raise ValueError(f"video_dead_letter_queue: {_UNSEEN.format(its)}")


def refuse_missing_roots(database: Database, region: str) -> None:
    """Refuse a database that could not be verified, because the shipped roots don't cover its region.

    A region that is only known when the stack is deployed is accepted.

    Raises:
        ValueError: the message begins with the key.
    """
    if not database.ssl_mode.startswith("verify") or database.ssl_root_cert != "rds.pem" or is_token(region):
        return
    if f"Amazon RDS {region} Root CA" not in (CERTIFICATES / "rds.pem").read_text():
        raise ValueError(
            f"database.sslRootCert: cdk/certificates/rds.pem has no root for {region}; "
            "put AWS's own bundle for it into cdk/certificates/ and name that file"
        )


def refuse_sharing(stage: "StageFile", others: Mapping[str, "StageFile"]) -> None:
    """Refuse a stage that works on the same things as another. An omitted account or region may be any.

    Raises:
        ValueError: the message begins with the key that the stages share.
    """
    mine = _owned(stage)
    for other, theirs in sorted(others.items()):
        for key, there in _owned(theirs).items():
            if all(
                one is None or another is None or one == another
                for one, another in zip(mine[key], there, strict=True)
            ):
                raise ValueError(
                    f"{key}: must not be the same as that of the stage {other}; stages whose account or region is "
                    "not given count as in the same"
                )


def _owned(stage: "StageFile") -> dict[str, tuple[object, ...]]:
    """What a stage must have for itself, by key: account, region and name of each."""
    metrics, place = stage.metrics, (stage.account, stage.region)
    return {
        "queues.video": _queue(stage, stage.queues.video),
        "queues.videoDeadLetter": _queue(stage, stage.queues.video_dead_letter),
        "workers.groupName": (*place, stage.workers.group_name),
        "scaling.overrideParameter": (*place, stage.scaling.override_parameter),
        "metrics": (*place, metrics.namespace, metrics.dimensions),
    }


def _queue(stage: "StageFile", name: str) -> tuple[object, ...]:
    if not name.startswith("arn:"):
        return stage.account, stage.region, name
    *_, region, account, name = name.split(":")
    return account, region, name
