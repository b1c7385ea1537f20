"""One step of the workflow: a function with a role, a log group and nothing that it doesn't need."""

import re
from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct


class Step(Construct):
    """The Lambda behind one state, named like the state; its module is the same name in snake case."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        prefix: str,
        code: lambda_.Code,
        layer: lambda_.ILayerVersion,
        environment: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout: Duration,
        log_retention: logs.RetentionDays,
        vpc: ec2.IVpc | None,
        subnets: Sequence[ec2.ISubnet],
        security_groups: Sequence[ec2.ISecurityGroup],
    ) -> None:
        super().__init__(scope, name)
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/{prefix}/{name}",
            retention=log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{prefix}: what {name} may do",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=f"{prefix}-{name}",
            description=f"State {name} of {prefix}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=code,
            handler=f"{module_of(name)}.handler",
            layers=[layer],
            environment=dict(environment),
            memory_size=512,
            timeout=timeout,
            role=role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=list(subnets)) if vpc else None,
            security_groups=list(security_groups) if vpc else None,
        )
        log_group.grant_write(role)
        for statement in statements:
            role.add_to_principal_policy(statement)


def module_of(name: str) -> str:
    """ListStaleVideos → list_stale_videos."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
