"""The video queue as tests look at it."""

import json
from datetime import datetime


class Queue:
    """One queue, over any SQS client."""

    def __init__(self, sqs, url):
        self.sqs, self.url = sqs, url

    def take_all(self):
        """Receive and delete everything; return the bodies, read, in no particular order."""
        bodies = []
        while received := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in received:
                bodies.append(json.loads(message["Body"]))
            self.sqs.delete_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(received)
                ],
            )
        return bodies

    def take_ids(self):
        """Like `take_all`, but only the videos' ids, sorted: one that came twice is there twice."""
        return sorted(body["video_id"] for body in self.take_all())

    def count(self):
        """Messages that wait or are in flight."""
        shown = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return sum(int(shown[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed"))


def exact_body(video_id, *, tenant, code, attempt, created_at):
    """The message that the platform's workers expect, field by field; nothing may be added."""
    assert datetime.fromisoformat(created_at).utcoffset() is not None, created_at
    return {
        "video_id": video_id,
        "file_key": f"tenants/{tenant}/lecture.mp4",
        "tenant_id": tenant,
        "tenant_code": code,
        "created_at": created_at,
        "attempt": attempt,
    }
