"""The queues that the platform's workers live on: taken as they are, or made for a stage that has none."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk import stage as settings
from cdk.findings import accept

_VISIBILITY = Duration.seconds(300)
_RECEIVES = 3


class Queues(Construct):
    """The video queue with its dead-letter queue, and the queues whose depth is published besides."""

    def __init__(self, scope: Construct, id_: str, *, queues: settings.Queues) -> None:
        super().__init__(scope, id_)
        self._create = queues.create
        self.video_dead_letter = self._queue("VideoDeadLetter", queues.video_dead_letter, None)
        self.video = self._queue("Video", queues.video, self.video_dead_letter)
        self.by_worker_type: Mapping[str, Sequence[sqs.IQueue]] = {"Video": [self.video]} | {
            kind: [self._queue(f"{kind}{i}", name, None) for i, name in enumerate(names)]
            for kind, names in queues.others.items()
        }

    def _queue(self, id_: str, name: str, dead_letter: sqs.IQueue | None) -> sqs.IQueue:
        if not self._create:
            arn = name if name.startswith("arn:") else Stack.of(self).format_arn(service="sqs", resource=name)
            return sqs.Queue.from_queue_arn(self, id_, arn)
        queue = sqs.Queue(
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
        )
        if dead_letter is None:
            accept(queue, "AwsSolutions-SQS3", because="a dead-letter queue, or one that nobody gave one")
        return queue
