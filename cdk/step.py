"""One step of the workflow: a function with a role and a log group of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.findings import accept, accept_wildcard
from cdk.stage import Network


@dataclass(frozen=True)
class Shared:
    """Properties that the functions of a stage have in common."""

    prefix: str
    code: lambda_.Code
    layers: Sequence[lambda_.ILayerVersion]
    log_retention: logs.RetentionDays
    network: Network | None


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
        self.log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/{shared.prefix}/{name}",
            retention=shared.log_retention,
            removal_policy=RemovalPolicy.DESTROY,
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
            function_name=f"{shared.prefix}-{name}",
            description=f"State {name} of {shared.prefix}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=shared.code,
            handler=f"{module_of(name)}.handler",
            layers=list(shared.layers),
            environment=dict(environment),
            memory_size=512,
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=reserved_concurrency,
            role=role,
            log_group=self.log_group,
            tracing=lambda_.Tracing.ACTIVE,
        )
        self.log_group.grant_write(role)
        for statement in [*statements, *self._join_vpc(shared)]:
            role.add_to_principal_policy(statement)
        accept_wildcard(role, "*", because=_WILDCARDS)
        accept(self.function, "AwsSolutions-L1", because="Python 3.13, for which the layer is built")

    def _join_vpc(self, shared: Shared) -> list[iam.PolicyStatement]:
        """Connect the function to the VPC by ids, and return the permissions that Lambda needs for it.

        The same permissions are denied to the function's own code: only the service creates the interfaces
        ("Giving Lambda functions access to resources in an Amazon VPC", Lambda's Developer Guide).
        """
        if shared.network is None:
            return []
        function = self.function.node.default_child
        assert isinstance(function, lambda_.CfnFunction)
        function.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=shared.network.subnet_ids, security_group_ids=shared.network.security_group_ids
        )
        arn = Stack.of(self).format_arn(service="lambda", resource=f"function:{shared.prefix}-{self.node.id}")
        from_code = {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
        return [
            iam.PolicyStatement(actions=_INTERFACES, resources=["*"]),
            iam.PolicyStatement(
                effect=iam.Effect.DENY, actions=_INTERFACES, resources=["*"], conditions=from_code
            ),
        ]


_WILDCARDS = (
    "X-Ray, Lambda's network interfaces, PutMetricData (held to its namespace), GetMetricData and "
    "DescribeAutoScalingGroups take no narrower resource"
)

_INTERFACES = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]


def module_of(name: str) -> str:
    """ListStaleVideos → list_stale_videos."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
