"""One step of the workflow: a function with a role and a log group of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from .findings import accept, accept_lint, accept_wildcard
from .placement import Placement


@dataclass(frozen=True)
class Shared:
    """Properties that the functions of a stage have in common."""

    prefix: str
    code: lambda_.Code
    layers: Sequence[lambda_.ILayerVersion]
    runtime: lambda_.Runtime
    memory_mb: int
    log_retention: logs.RetentionDays
    placement: Placement
    encryption_key: kms.IKey | None
    removal_policy: RemovalPolicy


class Step(Construct):
    """The function that one state calls, named like the state; its module is the same name in snake case."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        shared: Shared,
        environment: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout_s: int,
        reserved_concurrency: int | None,
    ) -> None:
        super().__init__(scope, name)
        function_name, placement = f"{shared.prefix}-{name}", shared.placement
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/{shared.prefix}/{name}",
            retention=shared.log_retention,
            encryption_key=shared.encryption_key,
            removal_policy=shared.removal_policy,
        )
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Role of {name} of {shared.prefix}",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            description=f"State {name} of {shared.prefix}",
            runtime=shared.runtime,
            architecture=lambda_.Architecture.ARM_64,
            code=shared.code,
            handler=f"{module_of(name)}.handler",
            layers=list(shared.layers),
            environment=dict(environment),
            environment_encryption=shared.encryption_key,
            memory_size=shared.memory_mb,
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=reserved_concurrency,
            role=role,
            log_group=self.log_group,
            tracing=lambda_.Tracing.ACTIVE,
            vpc=placement.vpc,
            vpc_subnets=placement.subnets,
            security_groups=list(placement.security_groups) if placement.vpc else None,
        )
        placement.place_by_ids(self.function)
        self.log_group.grant_write(role)
        for statement in [*statements, *placement.statements(self, function_name)]:
            role.add_to_principal_policy(statement)
        accept_wildcard(role, "*", because=_WILDCARDS)
        for rule, because in _ACCEPTED.items():
            accept(self.function, rule, because=because)
        accept_lint(
            self.function, "W3005", because="the CDK adds dependencies that a reference implies already"
        )


_VERSION = "the version that the stage names and the layer is built for"
_ACCEPTED = {
    "AwsSolutions-L1": _VERSION,
    "Serverless-LambdaLatestVersion": _VERSION,
    "Serverless-LambdaDLQ": "called synchronously by the workflow, which retries and reports what failed",
}

_WILDCARDS = (
    "X-Ray, Lambda's network interfaces, PutMetricData (held to its namespace), GetMetricData and "
    "DescribeAutoScalingGroups take no narrower resource"
)


def module_of(name: str) -> str:
    """ListStaleVideos → list_stale_videos."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
