"""What starts the workflow: a schedule, and the termination of an instance of the worker group."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as event_targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from .stage import Stage


class ReclaimSchedule(Construct):
    """Start the workflow at a fixed rate; starts that failed go to a dead-letter queue."""

    def __init__(
        self, scope: Construct, id_: str, *, prefix: str, stage: Stage, state_machine: sfn.IStateMachine
    ) -> None:
        super().__init__(scope, id_)
        self.undelivered = sqs.Queue(
            self,
            "Undelivered",
            queue_name=f"{prefix}-undelivered",
            retention_period=Duration.days(14),
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
        )
        self.schedule = scheduler.Schedule(
            self,
            "Schedule",
            schedule_name=f"{prefix}-reclaim-videos",
            description="Start the reclaim workflow",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(stage.schedule.rate_minutes)),
            enabled=stage.schedule.enabled,
            target=targets.StepFunctionsStartExecution(
                state_machine,
                input=scheduler.ScheduleTargetInput.from_object({}),
                dead_letter_queue=self.undelivered,
                max_event_age=Duration.minutes(1),  # the next start does the same work
                retry_attempts=2,
                role=_role(self, service="scheduler", resource="schedule-group", name="default"),
            ),
        )


class TerminationRule(Construct):
    """Start an execution with ``{"terminated": [instance id]}`` once Auto Scaling has ended an instance.

    "Amazon EC2 Auto Scaling event reference": the event comes at best effort, so nothing depends on it. An instance
    that goes back to a warm pool sends one too, with the destination WarmPool; it may still be encoding.

    Each event starts an execution of its own, whose name EventBridge makes. Where many instances end at once, Lambda
    refuses what is beyond a function's reserved concurrency, and the workflow tries again for up to a minute: twenty at
    once need 15 to 25 seconds at two calls of a function at once, the least that ``maxConnections`` leaves.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        stage: Stage,
        state_machine: sfn.IStateMachine,
        undelivered: sqs.IQueue,
    ) -> None:
        super().__init__(scope, id_)
        name = f"{prefix}-worker-terminated"
        instance = events.EventField.from_path("$.detail.EC2InstanceId")
        target = event_targets.SfnStateMachine(
            state_machine,
            input=events.RuleTargetInput.from_object({"terminated": [instance]}),
            dead_letter_queue=undelivered,
            max_event_age=Duration.minutes(5),  # by then the silence of its workers is known
            retry_attempts=5,
            role=_role(self, service="events", resource="rule", name=name),
        )
        events.Rule(
            self,
            "Rule",
            rule_name=name,
            description="Put back to work what a terminated worker held",
            enabled=stage.schedule.enabled,
            event_pattern=events.EventPattern(
                source=["aws.autoscaling"],
                detail_type=["EC2 Instance Terminate Successful"],
                detail={
                    "AutoScalingGroupName": [stage.workers.group_name],
                    "Destination": events.Match.anything_but("WarmPool"),
                },
            ),
            targets=[target],
        )


def _role(scope: Construct, *, service: str, resource: str, name: str) -> iam.Role:
    """Make a role that a service takes for one resource of this account; the target adds what it may do."""
    stack = Stack.of(scope)
    source = stack.format_arn(service=service, resource=resource, resource_name=name)
    of_this_account = {"aws:SourceAccount": stack.account, "aws:SourceArn": source}
    principal = iam.ServicePrincipal(f"{service}.amazonaws.com", conditions={"StringEquals": of_this_account})
    return iam.Role(scope, "Role", assumed_by=principal)
