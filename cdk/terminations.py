"""The rule that starts the workflow for an instance of the worker group that was terminated."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct


class TerminationRule(Construct):
    """Start an execution with ``{"terminated": [instance id]}`` once Auto Scaling has ended an instance.

    "Amazon EC2 Auto Scaling event reference": the event comes at best effort, so nothing depends on it. An instance
    that goes back to a warm pool sends one too, with the destination WarmPool; it may still be encoding.

    Each event starts an execution of its own, whose name EventBridge makes. Where many instances end at once, Lambda
    refuses what is beyond a function's reserved concurrency, and the workflow tries again for up to a minute.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        group_name: str,
        enabled: bool,
        state_machine: sfn.IStateMachine,
        undelivered: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id_)
        stack, name = Stack.of(self), f"{prefix}-worker-terminated"
        of_this_rule = {
            "aws:SourceAccount": stack.account,
            "aws:SourceArn": stack.format_arn(service="events", resource="rule", resource_name=name),
        }
        trusted = iam.ServicePrincipal("events.amazonaws.com", conditions={"StringEquals": of_this_rule})
        self.rule = events.Rule(
            self,
            "Rule",
            rule_name=name,
            description="Put back to work what a terminated worker held",
            enabled=enabled,
            event_pattern=events.EventPattern(
                source=["aws.autoscaling"],
                detail_type=["EC2 Instance Terminate Successful"],
                detail={
                    "AutoScalingGroupName": [group_name],
                    "Destination": events.Match.anything_but("WarmPool"),
                },
            ),
            targets=[
                targets.SfnStateMachine(
                    state_machine,
                    input=events.RuleTargetInput.from_object(
                        {"terminated": [events.EventField.from_path("$.detail.EC2InstanceId")]}
                    ),
                    dead_letter_queue=undelivered,
                    max_event_age=Duration.minutes(5),  # by then the silence of its workers is known
                    retry_attempts=5,
                    role=iam.Role(self, "Role", assumed_by=trusted),
                )
            ],
        )
