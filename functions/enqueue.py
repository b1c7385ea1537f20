"""Send the reclaimed videos of one batch to the queue, and end their handoff leases."""

from datetime import UTC, datetime
from typing import Any

from video_reclaim import log
from video_reclaim.adapters import sqs
from video_reclaim.adapters.postgres.store import store
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.conversion import from_builtins, to_builtins
from video_reclaim.rules.enqueueing import Batch, did_now, outcomes, output
from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.platform import message
from video_reclaim.rules.reclaiming import Written
from video_reclaim.settings import Queues, Reclaiming, read


@log.handler
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Map the answer of `reclaim` to ``{"did": {…}}``, with ``error`` and ``ids`` if SQS refused some.

    Before sending, the locks of dead workers are deleted, and a message that a worker would drop is delayed.
    Only videos that still carry the token are sent, and only those that SQS accepted lose it. A retry sends
    what is left. A video is sent twice only if the function ended between sending and clearing, or if SQS
    accepted a call whose answer was lost; what may be sent twice is counted, by its cause.

    Raises:
        StoreUnavailable: PostgreSQL did not answer; videos that were sent may still carry the token.
        QueueUnavailable, EnqueueIncomplete: see `rules.enqueueing.output`.
    """
    handoff_s, queue_url = read(Reclaiming).handoff_seconds, read(Queues).video_url
    batch = from_builtins(event, Batch, strict=False)
    token, at = token_for(batch.execution), datetime.now(UTC)
    attempts = dict(zip(batch.videos, batch.attempts, strict=True))
    jobs = store().read_handoffs(batch.videos, token=token, handoff_s=handoff_s) if attempts else []
    messages = {job.video_id: message(job, attempt=attempts[job.video_id], at=at) for job in jobs}
    delays_s = heartbeats().prepare_jobs(jobs)
    sent = sqs.send(queue_url, messages, delays_s or {})
    taken = set(sent.accepted)
    accepted = [job for job in jobs if job.video_id in taken]
    cleared = store().clear_handoffs(accepted, token=token) if accepted else Written()
    log.trace(outcomes(sent, attempts, delays_s or {}, cleared))
    did = did_now(batch, sent, cleared, jobs=len(jobs), redis_answered=delays_s is not None)
    return to_builtins(output(batch, sent, did))
