"""Send the reclaimed videos of one batch to the queue, and end their handoff."""

from datetime import UTC, datetime
from typing import Any

from video_reclaim import log, queues
from video_reclaim.errors import EnqueueIncomplete, QueueUnavailable, naming, naming_its_videos
from video_reclaim.postgres import store
from video_reclaim.settings import QueueSettings, read


@naming_its_videos
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map what `reclaim` answered to its report, with ``enqueued``, and ``failed`` if SQS refused some.

    Only videos that still carry the token are sent, and only those that SQS accepted lose it. A retry sends
    what is left; a video is sent twice only if the function ended between sending and putting that down, or
    if SQS accepted a call whose answer was lost.

    Raises:
        StoreUnavailable: PostgreSQL went away; videos that were sent may still carry the token.
        QueueUnavailable: SQS failed a call as a whole and accepted nothing, or, with ``insist``, not all.
        EnqueueIncomplete: SQS refused every video there was to send, or, with ``insist``, any.
    """
    settings = read(QueueSettings)
    token, report = event["token"], event["report"]
    attempts = dict(zip(event["videos"], event["attempts"], strict=True))
    jobs = store().read_handoffs(event["videos"], token=token, handoff_s=settings.handoff_seconds)
    now = datetime.now(UTC)
    sent = queues.send(
        settings.queue_url,
        {job.video_id: queues.message(job, attempt=attempts[job.video_id], at=now) for job in jobs},
    )
    if sent.accepted:
        accepted = set(sent.accepted)
        store().clear_handoffs([job for job in jobs if job.video_id in accepted], token=token)
    log.event(
        "enqueued",
        token=token,
        videos=sent.accepted,
        refused=sent.refused,
        untried=sent.untried,
        fault=sent.fault,
    )

    failure = QueueUnavailable if sent.fault else EnqueueIncomplete
    left = sent.refused | dict.fromkeys(sent.untried, sent.fault)
    if left and (event.get("insist") or not sent.accepted):
        raise failure(naming(left))
    moved_on = len(event["videos"]) - len(jobs)
    skipped = report["skipped"]
    report = {**report, "enqueued": len(sent.accepted)}
    if moved_on:
        report["skipped"] = {**skipped, "movedOn": skipped.get("movedOn", 0) + moved_on}
    if left:
        failed = report.get("failed", {"videos": []})["videos"]
        report["failed"] = {"videos": [*failed, *left], "error": failure.__name__}
        report["reclaimed"] -= len(left)  # counted by the pass in which they reach the queue
    return report
