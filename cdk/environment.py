"""What the functions are told: a stage's values as the variables that their settings module reads."""

import json

from aws_cdk import Stack

from cdk.queues import Queues
from cdk.stage import Stage

_SHIPPED = "/opt"  # where Lambda unpacks layers


def database(stage: Stage, patience_s: int) -> dict[str, str]:
    """Where PostgreSQL is, and how long a function may wait for it, all in all.

    A third for a statement: the wait on a connection that has died unnoticed, and the same statement on a
    new one, end within that time.
    """
    values = stage.database
    verified = values.ssl_mode.startswith("verify")
    return {
        "DATABASE_HOST": values.host,
        "DATABASE_PORT": str(values.port),
        "DATABASE_NAME": values.name,
        "DATABASE_USER": values.user,
        "DATABASE_SECRET_ARN": values.secret_arn or "",
        "DATABASE_IAM_AUTH": "true" if values.iam_resource_id else "false",
        "DATABASE_SSLMODE": values.ssl_mode,
        "DATABASE_SSLROOTCERT": f"{_SHIPPED}/{values.ssl_root_cert}" if verified else "",
        "DATABASE_CONNECT_SECONDS": "5",
        "DATABASE_STATEMENT_SECONDS": str(patience_s // 3),
    }


def redis(stage: Stage) -> dict[str, str]:
    """Where the heartbeats are."""
    root = stage.redis.ssl_root_cert
    return {
        "REDIS_URL": stage.redis.url,
        "REDIS_SECRET_ARN": stage.redis.secret_arn or "",
        "REDIS_SSLROOTCERT": f"{_SHIPPED}/{root}" if root else "",
        "REDIS_TIMEOUT_SECONDS": "2",
    }


def staleness(stage: Stage) -> dict[str, str]:
    """When a video counts as stuck."""
    return {
        "CONFIRM_SILENCE_SECONDS": str(stage.reclaiming.confirm_silence_seconds),
        "STRIKE_MEMORY_SECONDS": str(stage.strike_memory_seconds),
    }


def handoff(stage: Stage) -> dict[str, str]:
    """How long a reclaimed video may take to reach the queue."""
    return {"HANDOFF_SECONDS": str(stage.reclaiming.handoff_seconds)}


def backlog(stage: Stage, queues: Queues) -> dict[str, str]:
    """What is measured, where it is published, and how the fleet follows."""
    scaling = stage.scaling
    urls = {kind: [queue.queue_url for queue in members] for kind, members in queues.by_worker_type.items()}
    return {
        "QUEUE_URLS": Stack.of(queues).to_json_string(urls),
        "METRIC_NAMESPACE": stage.metrics.namespace,
        "METRIC_DIMENSIONS": json.dumps(stage.metrics.dimensions),
        "AUTO_SCALING_GROUP": stage.workers.group_name,
        "SCALING_MODE": scaling.mode,
        "SCALING_OVERRIDE_PARAMETER": scaling.override_parameter,
        "VIDEOS_PER_WORKER": str(scaling.videos_per_worker),
        "SCALE_IN_WINDOW_SECONDS": str(scaling.scale_in_window_seconds),
        "MEASURED_EVERY_SECONDS": str(60 * stage.schedule.rate_minutes),
        "MAX_STEP_OUT": str(scaling.max_step_out),
    }
