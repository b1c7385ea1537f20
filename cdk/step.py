"""One step of the workflow: a function with a role, a log group and nothing that it doesn't need."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.accepted import accept, accept_wildcard
from cdk.stage import Network


@dataclass(frozen=True)
class Setting:
    """What the steps of a stage have in common."""

    prefix: str
    code: lambda_.Code
    layers: Sequence[lambda_.ILayerVersion]
    log_retention: logs.RetentionDays
    network: Network | None


class Step(Construct):
    """The Lambda behind one state, named like the state; its module is the same name in snake case."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        setting: Setting,
        environment: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout_s: int,
        reserved_concurrency: int | None,
    ) -> None:
        super().__init__(scope, name)
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/{setting.prefix}/{name}",
            retention=setting.log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"{setting.prefix}: what {name} may do",
        )
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=f"{setting.prefix}-{name}",
            description=f"State {name} of {setting.prefix}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=setting.code,
            handler=f"{module_of(name)}.handler",
            layers=list(setting.layers),
            environment=dict(environment),
            memory_size=512,
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=reserved_concurrency,
            role=role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
        )
        log_group.grant_write(role)
        for statement in [*statements, *self._join(setting)]:
            role.add_to_principal_policy(statement)
        accept_wildcard(role, "*", because=_WILDCARDS)
        accept(self.function, "AwsSolutions-L1", because="Python 3.13, for which the layer is built")

    def _join(self, setting: Setting) -> list[iam.PolicyStatement]:
        """Put the function into the VPC, by ids alone; return what Lambda needs the role to allow for it.

        The same permissions are denied to the function's own code: only the service makes the interfaces.
        """
        if setting.network is None:
            return []
        function = self.function.node.default_child
        assert isinstance(function, lambda_.CfnFunction)
        function.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=setting.network.subnet_ids, security_group_ids=setting.network.security_group_ids
        )
        arn = Stack.of(self).format_arn(
            service="lambda", resource=f"function:{setting.prefix}-{self.node.id}"
        )
        by_the_code = {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
        return [
            iam.PolicyStatement(actions=_INTERFACES, resources=["*"]),
            iam.PolicyStatement(
                effect=iam.Effect.DENY, actions=_INTERFACES, resources=["*"], conditions=by_the_code
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
