"""The one stack of a stage."""

from aws_cdk import CfnOutput, Environment, Stack, Tags
from constructs import Construct

from cdk.alarms import OperatorAlarms, Watched, alarms
from cdk.dashboard import OperatorDashboard
from cdk.functions import ReclaimFunctions
from cdk.queries import OperatorQueries
from cdk.queues import Queues
from cdk.schedule import ReclaimSchedule
from cdk.stage import Stage
from cdk.workers import WorkerGroup
from cdk.workflow import ReclaimWorkflow


class VideoReclaimStack(Stack):
    """Functions, workflow and schedule; queues and worker group too where the stage has none yet."""

    def __init__(self, scope: Construct, *, name: str, stage: Stage) -> None:
        super().__init__(
            scope,
            f"VideoReclaim-{name}",
            description="Put stuck video transcodes back to work, and size the fleet that does them",
            env=Environment(account=stage.account, region=stage.region),
        )
        prefix = f"video-reclaim-{name}"
        queues = Queues(self, "Queues", queues=stage.queues)
        if stage.workers.create:
            WorkerGroup(self, "Workers", group_name=stage.workers.group_name, workers=stage.workers.create)
        functions = ReclaimFunctions(self, "Functions", prefix=prefix, stage=stage, queues=queues)
        workflow = ReclaimWorkflow(self, "Workflow", prefix=prefix, stage=stage, functions=functions.by_name)
        schedule = ReclaimSchedule(
            self, "Schedule", prefix=prefix, schedule=stage.schedule, state_machine=workflow.state_machine
        )
        watched = Watched(
            state_machine_arn=workflow.state_machine.state_machine_arn,
            undelivered_queue=schedule.undelivered.queue_name,
            video_dead_letter_queue=queues.video_dead_letter.queue_name,
            dimensions=stage.metrics.dimensions,
        )
        thresholds = alarms(stage, watched)
        raised = OperatorAlarms(self, "Alarms", prefix=prefix, stage=stage, alarms=thresholds)
        OperatorDashboard(
            self,
            "Dashboard",
            prefix=prefix,
            stage=stage,
            watched=watched,
            functions={name: f"{prefix}-{name}" for name in functions.by_name},
            alarms=raised.by_name,
            thresholds=thresholds,
            decisions_log=f"/{prefix}/PublishBacklog",
        )
        OperatorQueries(self, "Queries", prefix=prefix, log_groups=functions.log_groups)
        for key, value in {"application": "video-reclaim", "stage": name, **stage.tags}.items():
            Tags.of(self).add(key, value)
        outputs = {
            "StateMachineArn": workflow.state_machine.state_machine_arn,
            "QueueUrl": queues.video.queue_url,
            "DeadLetterQueueUrl": queues.video_dead_letter.queue_url,
            "AutoScalingGroupName": stage.workers.group_name,
            "MetricNamespace": stage.metrics.namespace,
            "ScheduleName": schedule.schedule.schedule_name,
            **{f"{name}Function": function.function_name for name, function in functions.by_name.items()},
        }
        for key, value in outputs.items():
            CfnOutput(self, key, value=value)
