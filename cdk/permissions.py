"""The permissions of the functions: one statement for each thing that they do, as narrow as AWS accepts it."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from .queues import PlatformQueues
from .stage import Stage


def allow(
    actions: list[str], resources: list[str], conditions: dict[str, dict[str, str]] | None = None
) -> iam.PolicyStatement:
    """Allow actions on resources."""
    return iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)


def sign_in(scope: Construct, stage: Stage) -> list[iam.PolicyStatement]:
    """Sign in to the database: by its secret, or as one database user by IAM."""
    database, stack = stage.database, Stack.of(scope)
    if database.secret_arn:
        return _read_secret(scope, database.secret_arn, database.secret_key_arn)
    if database.iam_resource_id:
        user = f"dbuser:{database.iam_resource_id}/{database.user}"
        arn = stack.format_arn(service="rds-db", resource=user)
        return [allow(["rds-db:connect"], [arn])]
    return []


def redis_sign_in(scope: Construct, stage: Stage) -> list[iam.PolicyStatement]:
    """Read the secret with Redis's auth token, if there is one."""
    redis = stage.redis
    return _read_secret(scope, redis.secret_arn, redis.secret_key_arn) if redis.secret_arn else []


def send_jobs(scope: Construct, queues: PlatformQueues) -> list[iam.PolicyStatement]:
    """Send to the video queue."""
    key = queues.video.encryption_master_key
    encrypt = use_key(scope, key.key_arn, "sqs", ["kms:Decrypt", "kms:GenerateDataKey"]) if key else []
    return [allow(["sqs:SendMessage"], [queues.video.queue_arn]), *encrypt]


def watch(queues: PlatformQueues) -> list[iam.PolicyStatement]:
    """Read the video queue's depth."""
    return [allow(["sqs:GetQueueAttributes"], [queues.video.queue_arn])]


def observe(scope: Construct, stage: Stage, queues: PlatformQueues) -> list[iam.PolicyStatement]:
    """Read the queues' depth, the group and the override; put metrics into one namespace, and read any."""
    parameter = Stack.of(scope).format_arn(
        service="ssm", resource="parameter", resource_name=stage.scaling.override_parameter.lstrip("/")
    )
    of_a_group = ("AutoScalingGroups", "InstanceRefreshes", "LifecycleHooks")
    namespace = {"StringEquals": {"cloudwatch:namespace": stage.metrics.namespace}}
    measured = [queue.queue_arn for members in queues.by_worker_type.values() for queue in members]
    return [
        allow(["sqs:GetQueueAttributes"], measured),
        allow(["ssm:GetParameter"], [parameter]),
        allow(["cloudwatch:PutMetricData"], ["*"], namespace),  # the namespace is its only bound
        allow(["cloudwatch:GetMetricData"], ["*"]),  # takes neither resource nor condition
        allow([f"autoscaling:Describe{what}" for what in of_a_group], ["*"]),  # they take no resource
    ]


def _read_secret(scope: Construct, arn: str, key_arn: str | None) -> list[iam.PolicyStatement]:
    decrypt = use_key(scope, key_arn, "secretsmanager", ["kms:Decrypt"]) if key_arn else []
    return [allow(["secretsmanager:GetSecretValue"], [arn]), *decrypt]


def use_key(scope: Construct, key_arn: str, service: str, actions: list[str]) -> list[iam.PolicyStatement]:
    """Use a customer's key, and only through the service that needs it."""
    stack = Stack.of(scope)
    via = {"StringEquals": {"kms:ViaService": f"{service}.{stack.region}.{stack.url_suffix}"}}
    return [allow(actions, [key_arn], via)]
