"""Refuse a stage that names things of another region."""

from typing import TYPE_CHECKING

from .platform import CERTIFICATES, Database

if TYPE_CHECKING:
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
    dead_letters = stage.queues.video_dead_letter
    if dead_letters.startswith("arn:") and stage.account and dead_letters.split(":")[4] != stage.account:
        raise ValueError(
            f"queues.videoDeadLetter: {dead_letters} is in another account, where the alarm VideoDeadLetters can't "
            "see its metrics: name a queue of the stage's account"
        )


def refuse_missing_roots(database: Database, region: str) -> None:
    """Refuse a database that could not be verified, because the shipped roots don't cover its region.

    Raises:
        ValueError: the message begins with the key.
    """
    if not database.ssl_mode.startswith("verify") or database.ssl_root_cert != "rds.pem":
        return
    if f"Amazon RDS {region} Root CA" not in (CERTIFICATES / "rds.pem").read_text():
        raise ValueError(
            f"database.sslRootCert: cdk/certificates/rds.pem has no root for {region}; "
            "put AWS's own bundle for it into cdk/certificates/ and name that file"
        )
