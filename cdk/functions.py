"""The four functions: what each is told, and what each may do."""

import json
from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.bundle import ROOT, dependency_layer
from cdk.queues import Queues
from cdk.stage import Stage
from cdk.step import Step


class ReclaimFunctions(Construct):
    """One code asset and one dependency layer behind four functions, each with a role of its own."""

    def __init__(self, scope: Construct, id_: str, *, prefix: str, stage: Stage, queues: Queues) -> None:
        super().__init__(scope, id_)
        self._prefix, self._stage = prefix, stage
        self._code = lambda_.Code.from_asset(str(ROOT / "functions"), exclude=["**/__pycache__", "**/*.pyc"])
        self._layer = lambda_.LayerVersion(
            self,
            "Dependencies",
            description="psycopg2 and redis",
            code=lambda_.Code.from_asset(str(dependency_layer(stage.bundle))),
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_13],
            compatible_architectures=[lambda_.Architecture.ARM_64],
        )
        self._vpc, self._subnets, self._security_groups = _network(self, stage)
        store, redis = _store_environment(stage), _redis_environment(stage)
        sign_in, redis_secret = _database_statements(self, stage), _redis_statements(stage)
        reclaiming = stage.reclaiming
        staleness = {"CONFIRM_SILENCE_SECONDS": str(reclaiming.confirm_silence_seconds)}
        staleness["STRIKE_MEMORY_SECONDS"] = str(stage.strike_memory_seconds)
        handoff = {"HANDOFF_SECONDS": str(reclaiming.handoff_seconds)}
        self.list_stale_videos = self._step(
            "ListStaleVideos", 60, {**store, **redis, **staleness}, [*sign_in, *redis_secret]
        )
        self.reclaim = self._step(
            "Reclaim",
            30,
            {**store, **redis, **staleness, **handoff, "MAX_RECLAIMS": str(reclaiming.max_reclaims)},
            [*sign_in, *redis_secret],
        )
        self.enqueue = self._step(
            "Enqueue",
            60,
            {**store, **handoff, "QUEUE_URL": queues.video.queue_url},
            [*sign_in, _allow(["sqs:SendMessage"], [queues.video.queue_arn])],
        )
        self.publish_backlog = self._step(
            "PublishBacklog",
            30,
            {**store, **_backlog_environment(stage, queues)},
            [*sign_in, *_backlog_statements(self, stage, queues)],
        )

    @property
    def by_name(self) -> dict[str, lambda_.Function]:
        """The functions by the name of their state."""
        steps = (self.list_stale_videos, self.reclaim, self.enqueue, self.publish_backlog)
        return {step.node.id: step.function for step in steps}

    def _step(
        self,
        name: str,
        timeout_s: int,
        environment: dict[str, str],
        statements: Sequence[iam.PolicyStatement],
    ) -> Step:
        return Step(
            self,
            name,
            prefix=self._prefix,
            code=self._code,
            layer=self._layer,
            environment=environment,
            statements=statements,
            timeout=Duration.seconds(timeout_s),
            log_retention=logs.RetentionDays[self._stage.observability.log_retention],
            vpc=self._vpc,
            subnets=self._subnets,
            security_groups=self._security_groups,
        )


def _network(
    scope: Construct, stage: Stage
) -> tuple[ec2.IVpc | None, list[ec2.ISubnet], list[ec2.ISecurityGroup]]:
    network = stage.network
    if network is None:
        return None, [], []
    vpc = ec2.Vpc.from_vpc_attributes(
        scope, "Vpc", vpc_id=network.vpc_id, availability_zones=network.availability_zones
    )
    subnets = [
        ec2.Subnet.from_subnet_id(scope, f"Subnet{i}", id_) for i, id_ in enumerate(network.subnet_ids)
    ]
    groups = [
        ec2.SecurityGroup.from_security_group_id(scope, f"SecurityGroup{i}", id_, mutable=False)
        for i, id_ in enumerate(network.security_group_ids)
    ]
    return vpc, subnets, groups


def _store_environment(stage: Stage) -> dict[str, str]:
    database = stage.database
    return {
        "DATABASE_HOST": database.host,
        "DATABASE_PORT": str(database.port),
        "DATABASE_NAME": database.name,
        "DATABASE_USER": database.user,
        "DATABASE_SECRET_ARN": database.secret_arn or "",
        "DATABASE_IAM_AUTH": "true" if database.iam_resource_id else "false",
        "DATABASE_SSLMODE": database.ssl_mode,
        "DATABASE_SSLROOTCERT": database.ssl_root_cert,
    }


def _redis_environment(stage: Stage) -> dict[str, str]:
    return {"REDIS_URL": stage.redis.url, "REDIS_SECRET_ARN": stage.redis.secret_arn or ""}


def _backlog_environment(stage: Stage, queues: Queues) -> dict[str, str]:
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
        "MAX_STEP_OUT": str(scaling.max_step_out),
    }


def _database_statements(scope: Construct, stage: Stage) -> list[iam.PolicyStatement]:
    database, stack = stage.database, Stack.of(scope)
    if database.secret_arn:
        return [_allow(["secretsmanager:GetSecretValue"], [database.secret_arn])]
    if database.iam_resource_id:
        user = f"dbuser:{database.iam_resource_id}/{database.user}"
        return [_allow(["rds-db:connect"], [stack.format_arn(service="rds-db", resource=user)])]
    return []


def _redis_statements(stage: Stage) -> list[iam.PolicyStatement]:
    secret = stage.redis.secret_arn
    return [_allow(["secretsmanager:GetSecretValue"], [secret])] if secret else []


def _backlog_statements(scope: Construct, stage: Stage, queues: Queues) -> list[iam.PolicyStatement]:
    parameter = Stack.of(scope).format_arn(
        service="ssm", resource="parameter", resource_name=stage.scaling.override_parameter.lstrip("/")
    )
    namespace = {"StringEquals": {"cloudwatch:namespace": stage.metrics.namespace}}
    measured = [queue.queue_arn for members in queues.by_worker_type.values() for queue in members]
    return [
        _allow(["sqs:GetQueueAttributes"], measured),
        _allow(["ssm:GetParameter"], [parameter]),
        _allow(["cloudwatch:PutMetricData"], ["*"], namespace),  # the namespace is its only bound
        _allow(["cloudwatch:GetMetricData"], ["*"]),  # takes neither resource nor condition
        _allow(["autoscaling:DescribeAutoScalingGroups"], ["*"]),  # takes no resource
    ]


def _allow(
    actions: list[str], resources: list[str], conditions: dict[str, dict[str, str]] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)
