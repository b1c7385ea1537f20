"""The state machine: the ASL file, bound to the functions."""

from collections.abc import Mapping

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from .sources import ROOT
from .stage import Stage

DEFINITION = ROOT / "state_machines" / "reclaim_videos.asl.json"


class ReclaimWorkflow(Construct):
    """Bind each ``${NameArn}`` in the ASL file to the function called Name, and let the workflow call it."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        stage: Stage,
        functions: Mapping[str, lambda_.IFunction],
        removal_policy: RemovalPolicy,
    ) -> None:
        super().__init__(scope, id_)
        group = Stack.of(self).format_arn(
            service="autoscaling",
            resource="autoScalingGroup:*:autoScalingGroupName",
            resource_name=stage.workers.group_name,
        )
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            state_machine_name=f"{prefix}-reclaim-videos",
            comment="Put stuck videos back to work, publish the backlog, and size the fleet",
            definition_body=sfn.DefinitionBody.from_string(DEFINITION.read_text()),
            definition_substitutions={
                **{f"{name}Arn": function.function_arn for name, function in functions.items()},
                "AutoScalingGroupName": stage.workers.group_name,
                "MaxConcurrency": str(stage.reclaiming.max_concurrency),
                "Partition": Stack.of(self).partition,
            },
            tracing_enabled=True,
            logs=sfn.LogOptions(
                destination=logs.LogGroup(
                    self,
                    "Logs",
                    log_group_name=f"/aws/vendedlogs/states/{prefix}-reclaim-videos",
                    retention=logs.RetentionDays[stage.observability.log_retention],
                    removal_policy=removal_policy,
                ),
                level=sfn.LogLevel.ALL,
                include_execution_data=stage.observability.log_execution_data,
            ),
        )
        # CDK can't see the calls inside an ASL file.
        for actions, resources in (
            (["lambda:InvokeFunction"], [function.function_arn for function in functions.values()]),
            (["autoscaling:SetDesiredCapacity"], [group]),
        ):
            self.state_machine.add_to_role_policy(iam.PolicyStatement(actions=actions, resources=resources))
        # cfn-lint knows neither substitutions nor JSONata.
        resource = self.state_machine.node.default_child
        assert isinstance(resource, sfn.CfnStateMachine)
        resource.add_metadata("cfn-lint", {"config": {"ignore_checks": ["E3601"]}})
