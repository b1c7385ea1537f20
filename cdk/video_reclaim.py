"""The construct that another CDK app uses."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partialmethod
from typing import Any
from weakref import WeakKeyDictionary

import jsii
from aws_cdk import Annotations, Names, RemovalPolicy, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IConstruct

from .alarms import OperatorAlarms, Severity, Watched
from .dashboard import OperatorDashboard
from .fields import is_token
from .functions import ReclaimFunctions
from .metrics import METRICS
from .placement import Placement
from .queries import OperatorQueries
from .queues import PlatformQueues
from .refusals import (
    Owned,
    refuse_missing_roots,
    refuse_other_regions,
    refuse_queues,
    refuse_sharing,
    secrets_and_keys,
)
from .sections import Database, Network, Redis, Workers
from .stage import InvalidStage, Settings, Stage
from .starts import ReclaimSchedule, TerminationRule
from .workflow import ReclaimWorkflow

_DEPLOYMENTS: WeakKeyDictionary[IConstruct, dict[str, Owned]] = WeakKeyDictionary()
"""By app, what each deployment in it must have for itself, by path."""


@jsii.implements(ec2.IConnectable)
class VideoReclaim(Construct):
    """Put stuck video transcodes back to work, and size the fleet that does them.

    It creates the workflow, its four functions and their schedule, alarms, a dashboard and saved queries. It
    creates nothing of the platform: the database, Redis, queues and worker group are given.

    :example:

        reclaim = VideoReclaim(
            self,
            "VideoReclaim",
            vpc=vpc,
            database=database_by_secret(database.secret, host=database.instance_endpoint.hostname, name="academy"),
            redis=redis_at(cache.attr_primary_end_point_address),
            video_queue=jobs,
            video_dead_letter_queue=dead_letters,
            worker_group=workers,
            alarm_topic=topic,
        )
        reclaim.connections.allow_to_default_port(database)
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        database: Database,
        redis: Redis,
        video_queue: sqs.IQueue,
        video_dead_letter_queue: sqs.IQueue,
        worker_group: autoscaling.IAutoScalingGroup | str,
        other_queues: Mapping[str, Sequence[sqs.IQueue]] | None = None,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        network: Network | None = None,
        alarm_topic: sns.ITopic | None = None,
        notify_topic: sns.ITopic | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
        name: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Create the workflow and everything that it needs.

        :param scope: parent.
        :param id_: id within the parent.
        :param database: the platform's PostgreSQL; see ``connections.database_by_secret`` and
            ``connections.database_by_iam``.
        :param redis: the Redis that holds the heartbeats; see ``connections.redis_at``.
        :param video_queue: the queue that reclaimed videos are sent to; no FIFO queue.
        :param video_dead_letter_queue: its dead-letter queue, which has an alarm.
        :param worker_group: the Auto Scaling group of the workers, or its name.
        :param other_queues: by worker type, further queues whose depth is published. Default: none.
        :param vpc: the VPC of the functions. Default: no VPC, or ``network``.
        :param vpc_subnets: which subnets of ``vpc``. Default: the private ones.
        :param security_groups: security groups of the functions. Default: with ``vpc``, a new one.
        :param network: ids of subnets and security groups, in place of ``vpc``.
        :param alarm_topic: topic of the alarms that somebody has to act on now. Default: none.
        :param notify_topic: topic of the other alarms. Default: ``alarm_topic``.
        :param removal_policy: what becomes of the logs when the stack is deleted. Default: they are deleted.
        :param name: what tells this deployment from others in the account and region: up to 30 lower case
            letters, digits and hyphens. Names of resources begin with ``video-reclaim-NAME``. Default: made from
            the path of this construct.
        :param settings: when to reclaim, how to scale, how often to run. Default: ``Settings()``.

        :raises InvalidStage: something can't work; the message begins with the argument or the setting.
        """
        super().__init__(scope, id_)
        self.name = name or Names.unique_resource_name(self, max_length=30, separator="-").lower()
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,29}", self.name):
            raise InvalidStage(
                f"name: has up to 30 lower case letters, digits and hyphens, not {self.name!r}"
            )
        self._prefix = f"video-reclaim-{self.name}"
        group = worker_group if isinstance(worker_group, str) else worker_group.auto_scaling_group_name
        sections = {field: getattr(settings or Settings(), field) for field in Settings.model_fields}
        self._stage = Stage(
            database=database, redis=redis, workers=Workers(group_name=group), **sections
        ).named(self.name)
        queues = PlatformQueues(video_queue, video_dead_letter_queue, other_queues or {})
        self._refuse(queues, worker_group)
        placement = self._place(vpc, vpc_subnets, security_groups, network)
        self._create(queues, placement, removal_policy)
        self._observe(queues, alarm_topic, notify_topic)

    def _refuse(self, queues: PlatformQueues, worker_group: autoscaling.IAutoScalingGroup | str) -> None:
        """Refuse what can't work; `Stage` has refused what it can know of."""
        stack, stage = Stack.of(self), self._stage
        place = tuple(None if is_token(known) else known for known in (stack.account, stack.region))
        owned = {
            "video_queue": (None, None, self._identity(queues.video, queues.video.queue_arn)),
            "worker_group": (*place, self._identity(worker_group, stage.workers.group_name)),
            "settings.scaling.override_parameter": (*place, stage.scaling.override_parameter),
            "settings.metrics": (*place, stage.metrics.namespace, stage.metrics.dimensions),
        }
        beside = _DEPLOYMENTS.setdefault(self.node.root, {})
        try:
            refuse_missing_roots(stage.database, stack.region)
            refuse_other_regions(secrets_and_keys(stage.database, stage.redis), stack.region)
            refuse_queues(queues.video, queues.video_dead_letter, queues.others, stack)
            refuse_sharing(owned, beside)
        except ValueError as exc:
            raise InvalidStage(str(exc)) from exc
        beside[self.node.path] = owned

    def _identity(self, given: IConstruct | str, name: str) -> str:
        """Return what is equal for the same queue or group: the path of a construct that makes it, or its name."""
        if not isinstance(given, str) and given.node.default_child is not None:
            return given.node.path
        return json.dumps(Stack.of(self).resolve(name))

    def _place(
        self,
        vpc: ec2.IVpc | None,
        subnets: ec2.SubnetSelection | None,
        security_groups: Sequence[ec2.ISecurityGroup] | None,
        network: Network | None,
    ) -> Placement:
        if vpc is not None and network is not None:
            raise InvalidStage("network: give vpc or network, not both")
        if vpc is None and (subnets is not None or security_groups is not None):
            raise InvalidStage("vpc: is needed with vpc_subnets and security_groups")
        if vpc is not None and security_groups is None:
            description = f"Functions of {self._prefix}"
            security_groups = [ec2.SecurityGroup(self, "SecurityGroup", vpc=vpc, description=description)]
            # connections.allow_to adds the rule of the other side; out of this one everything may go already.
            Annotations.of(security_groups[0]).acknowledge_warning("@aws-cdk/aws-ec2:ipv4IgnoreEgressRule")
        groups: Sequence[ec2.ISecurityGroup] = security_groups or [
            ec2.SecurityGroup.from_security_group_id(self, f"SecurityGroup{n}", given)
            for n, given in enumerate(network.security_group_ids if network else ())
        ]
        self._connections = ec2.Connections(security_groups=list(groups))
        return Placement(vpc, subnets, groups, network)

    def _create(self, queues: PlatformQueues, placement: Placement, removal_policy: RemovalPolicy) -> None:
        functions = ReclaimFunctions(
            self,
            "Functions",
            name=self.name,
            prefix=self._prefix,
            stage=self._stage,
            queues=queues,
            placement=placement,
            removal_policy=removal_policy,
        )
        self.functions: Mapping[str, lambda_.Function] = functions.by_name
        """The functions by the name of their state."""
        self.log_groups = functions.log_groups
        """The functions' log groups by the name of their state."""
        self.state_machine: sfn.StateMachine = ReclaimWorkflow(
            self,
            "Workflow",
            prefix=self._prefix,
            stage=self._stage,
            functions=functions.by_name,
            removal_policy=removal_policy,
        ).state_machine
        """The workflow."""
        started: dict[str, Any] = {
            "prefix": self._prefix,
            "stage": self._stage,
            "state_machine": self.state_machine,
        }
        self.schedule = ReclaimSchedule(self, "Schedule", **started)
        """The schedule, with the dead-letter queue for starts that failed."""
        TerminationRule(self, "Terminations", **started, undelivered=self.schedule.undelivered)

    def _observe(
        self, queues: PlatformQueues, alarm_topic: sns.ITopic | None, notify_topic: sns.ITopic | None
    ) -> None:
        prefix, stage = self._prefix, self._stage
        watched = Watched(
            state_machine_arn=self.state_machine.state_machine_arn,
            undelivered_queue=self.schedule.undelivered.queue_name,
            video_dead_letter_queue=queues.video_dead_letter.queue_name,
            worker_types=tuple(queues.by_worker_type),
            dimensions=stage.metrics.dimensions,
        )
        topics: dict[Severity, sns.ITopic | None] = {
            "page": alarm_topic,
            "notify": notify_topic or alarm_topic,
        }
        observed: dict[str, Any] = {"prefix": prefix, "stage": stage, "watched": watched}
        alarms = OperatorAlarms(self, "Alarms", **observed, topics=topics)
        self.alarms: Mapping[str, cloudwatch.CfnAlarm] = alarms.by_name
        """The alarms by name."""
        self.dashboard: cloudwatch.CfnDashboard = OperatorDashboard(
            self, "Dashboard", **observed, steps=list(self.functions), alarms=alarms
        ).dashboard
        """The operators' dashboard."""
        OperatorQueries(self, "Queries", prefix=prefix, log_groups=self.log_groups)

    @property
    def connections(self) -> ec2.Connections:
        """Security groups of the functions; empty where they run outside any VPC."""
        return self._connections

    def grant_start_execution(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow to start executions, for example dry runs.

        :param grantee: who may.
        """
        return self.state_machine.grant_start_execution(grantee)

    def grant_redrive(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow to redrive failed executions.

        :param grantee: who may.
        """
        return self.state_machine.grant_redrive_execution(grantee)

    def metric(self, name: str, **options: Any) -> cloudwatch.Metric:  # noqa: ANN401 (MetricOptions)
        """Return a metric of the list in docs/metrics.md, except QueueDepth.

        :param name: name in the list.
        :param options: further options of ``cloudwatch.Metric``, such as ``period``.

        :raises KeyError: there is no such metric.
        """
        return cloudwatch.Metric(
            **{
                "namespace": self._stage.metrics.namespace,
                "metric_name": name,
                "statistic": METRICS[name].statistic,
                "dimensions_map": self._stage.metrics.dimensions,
                **options,
            }
        )

    metric_backlog_count = partialmethod(metric, "BacklogCount")
    """Return the number of videos that wait or are being transcoded."""
    metric_oldest_backlog_age = partialmethod(metric, "OldestBacklogAge")
    """Return the longest wait for a worker, in seconds."""
    metric_videos_reclaimed = partialmethod(metric, "VideosReclaimed")
    """Return the number of videos that were reclaimed."""
    metric_desired_workers = partialmethod(metric, "DesiredWorkers")
    """Return the number of workers that the decision asks for."""

    def metric_queue_depth(self, worker_type: str = "Video", **options: Any) -> cloudwatch.Metric:  # noqa: ANN401
        """Return the number of visible messages in the queues of a worker type.

        :param worker_type: ``Video``, or a key of ``other_queues``.
        :param options: further options of ``cloudwatch.Metric``.
        """
        return self.metric("QueueDepth", **{"dimensions_map": {"WorkerType": worker_type}, **options})
