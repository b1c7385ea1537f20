"""The stack of a stage: `VideoReclaim` with what the stage names by ids, and what it lets create."""

from aws_cdk import CfnOutput, Environment, RemovalPolicy, Stack, Tags
from aws_cdk import aws_sns as sns
from constructs import Construct

from .queues import StageQueues
from .stage import StageFile
from .video_reclaim import VideoReclaim


class VideoReclaimStack(Stack):
    """Functions, workflow and schedule; the queues too where the stage has none yet."""

    def __init__(
        self, scope: Construct, *, name: str, stage: StageFile, env: Environment | None = None
    ) -> None:
        """Create the stack ``VideoReclaim-NAME``.

        :param scope: the app, or a ``cdk.Stage`` of a pipeline.
        :param name: name of the stage.
        :param stage: the stage, from ``stage.load``.
        :param env: account and region. Default: those of the stage, and else those of ``scope``.
        """
        super().__init__(
            scope,
            f"VideoReclaim-{name}",
            stack_name=f"VideoReclaim-{name}",
            description="Put stuck video transcodes back to work, and size the fleet that does them",
            env=env or Environment(account=stage.account, region=stage.region),
            termination_protection=stage.termination_protection,
        )
        removal_policy = RemovalPolicy.RETAIN if stage.retain else RemovalPolicy.DESTROY
        queues = StageQueues(self, "Queues", queues=stage.queues, removal_policy=removal_policy).queues
        # The id Default adds nothing to the ids of the resources within, which are those of version 0.2.
        reclaim = VideoReclaim(
            self,
            "Default",
            database=stage.database,
            redis=stage.redis,
            video_queue=queues.video,
            video_dead_letter_queue=queues.video_dead_letter,
            worker_group=stage.workers.group_name,
            other_queues=queues.others,
            network=stage.network,
            alarm_topic=self._topic("AlarmTopic", stage.observability.topic_arn),
            notify_topic=self._topic("NotifyTopic", stage.observability.notify_topic_arn),
            removal_policy=removal_policy,
            name=name,
            settings=stage,
        )
        tags = {"application": "video-reclaim", "stage": name, **stage.tags}
        for tag, value in tags.items():
            Tags.of(self).add(tag, value)
        outputs = {
            "StateMachineArn": reclaim.state_machine.state_machine_arn,
            "QueueUrl": queues.video.queue_url,
            "DeadLetterQueueUrl": queues.video_dead_letter.queue_url,
            "AutoScalingGroupName": stage.workers.group_name,
            "MetricNamespace": stage.metrics.namespace,
            "ScheduleName": reclaim.schedule.schedule.schedule_name,
            **{f"{step}Function": function.function_name for step, function in reclaim.functions.items()},
        }
        for output, value in outputs.items():
            CfnOutput(self, output, value=value)

    def _topic(self, id_: str, arn: str | None) -> sns.ITopic | None:
        return sns.Topic.from_topic_arn(self, id_, arn) if arn else None
