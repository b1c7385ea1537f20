"""The schedule that starts the workflow."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from . import stage as settings


class ReclaimSchedule(Construct):
    """Start the workflow at a fixed rate; starts that failed go to a dead-letter queue."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        prefix: str,
        schedule: settings.Schedule,
        state_machine: sfn.IStateMachine,
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
        role = self._role()
        self.schedule = scheduler.Schedule(
            self,
            "Schedule",
            schedule_name=f"{prefix}-reclaim-videos",
            description="Start the reclaim workflow",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(schedule.rate_minutes)),
            enabled=schedule.enabled,
            target=targets.StepFunctionsStartExecution(
                state_machine,
                input=scheduler.ScheduleTargetInput.from_object({}),
                dead_letter_queue=self.undelivered,
                max_event_age=Duration.minutes(1),  # the next start does the same work
                retry_attempts=2,
                role=role,
            ),
        )

    def _role(self) -> iam.Role:
        """Create the role that the schedule takes; the target adds the permissions to start and to send."""
        stack = Stack.of(self)
        of_this_account = {
            "aws:SourceAccount": stack.account,
            "aws:SourceArn": stack.format_arn(
                service="scheduler", resource="schedule-group", resource_name="default"
            ),
        }
        trusted = iam.ServicePrincipal(
            "scheduler.amazonaws.com", conditions={"StringEquals": of_this_account}
        )
        return iam.Role(self, "Role", assumed_by=trusted)
