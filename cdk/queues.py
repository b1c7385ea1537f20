"""The platform's queues: existing ones by name or ARN, or new ones for a stage that has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from .sections import QueueNames

_VISIBILITY = Duration.seconds(300)
_RECEIVES = 3


@dataclass(frozen=True)
class PlatformQueues:
    """The video queue with its dead-letter queue, and by worker type the other queues whose depth is published."""

    video: sqs.IQueue
    video_dead_letter: sqs.IQueue
    others: Mapping[str, Sequence[sqs.IQueue]] = field(default_factory=dict)

    @property
    def by_worker_type(self) -> Mapping[str, Sequence[sqs.IQueue]]:
        """Every queue whose depth is published."""
        return {"Video": [self.video], **self.others}


class StageQueues(Construct):
    """The queues that a stage names."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        queues: QueueNames,
        removal_policy: RemovalPolicy = RemovalPolicy.DESTROY,
    ) -> None:
        super().__init__(scope, id_)
        self._create, self._video_key_arn = queues.create, queues.video_key_arn
        self._removal_policy = removal_policy
        dead_letters = self._queue("VideoDeadLetter", queues.video_dead_letter, None)
        self.queues = PlatformQueues(
            video=self._queue("Video", queues.video, dead_letters),
            video_dead_letter=dead_letters,
            others={
                kind: [self._queue(f"{kind}{i}", name, None) for i, name in enumerate(names)]
                for kind, names in queues.others.items()
            },
        )

    def _queue(self, id_: str, name: str, dead_letter: sqs.IQueue | None) -> sqs.IQueue:
        if not self._create:
            arn = name if name.startswith("arn:") else Stack.of(self).format_arn(service="sqs", resource=name)
            key_arn = self._video_key_arn if id_ == "Video" else None
            return sqs.Queue.from_queue_attributes(self, id_, queue_arn=arn, key_arn=key_arn)
        return sqs.Queue(
            self,
            id_,
            queue_name=name,
            visibility_timeout=_VISIBILITY,
            retention_period=Duration.days(14),
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letter, max_receive_count=_RECEIVES)
            if dead_letter
            else None,
            removal_policy=self._removal_policy,
        )
