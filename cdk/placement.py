"""Where the functions run: in a VPC given as objects or by ids, or outside any VPC."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import IConstruct

from .sections import Network


@dataclass(frozen=True)
class Placement:
    """A VPC with subnets (None: its private ones) and security groups, or ``network``, their ids, or nothing."""

    vpc: ec2.IVpc | None = None
    subnets: ec2.SubnetSelection | None = None
    security_groups: Sequence[ec2.ISecurityGroup] = ()
    network: Network | None = None

    @property
    def in_vpc(self) -> bool:
        """Whether the functions run in a VPC."""
        return self.vpc is not None or self.network is not None

    def place_by_ids(self, function: lambda_.Function) -> None:
        """Connect a function to the network that is given by ids."""
        if self.network is None:
            return
        resource = function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        resource.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=self.network.subnet_ids, security_group_ids=self.network.security_group_ids
        )

    def statements(self, scope: IConstruct, function_name: str) -> list[iam.PolicyStatement]:
        """Return the permissions that Lambda needs for network interfaces, denied to the function's own code.

        "Giving Lambda functions access to resources in an Amazon VPC", Lambda's Developer Guide.
        """
        if not self.in_vpc:
            return []
        arn = Stack.of(scope).format_arn(service="lambda", resource=f"function:{function_name}")
        from_code = {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
        return [
            iam.PolicyStatement(actions=_INTERFACES, resources=["*"]),
            iam.PolicyStatement(
                effect=iam.Effect.DENY, actions=_INTERFACES, resources=["*"], conditions=from_code
            ),
        ]


_INTERFACES = [
    *("ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"),
]
