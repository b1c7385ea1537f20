"""The record of an execution, which is its output: one JSON object that a person can read."""

from collections import Counter
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from video_reclaim.rules.counts import Counts, ItemResult, add_up
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.records import Decision

Distrust = Literal["redisAway", "neverHeard", "neverExpires", "massSilence"]


class ListedVideo(msgspec.Struct, frozen=True):
    """A video in the record of a dry run."""

    id: int
    reason: Reason


class RunRecord(msgspec.Struct, rename="camel"):
    """The record of an execution.

    Attributes:
        dry_run: nothing was written.
        stale: number of stale videos by reason.
        spared: number of videos that were looked at and left alone, by reason.
        heartbeats_trusted: every step could read and write Redis, and silence counted for every video. Absent
            when the listing failed.
        distrust: why silence did not count for some video; absent if it did.
        expired_but_beating: number of videos whose lease expired although their workers send heartbeats.
        longest_wait_s: longest time that a video has been seen waiting for a worker, seconds. Absent when the
            listing failed or Redis did not answer.
        left_to_next_run: stale videos beyond the limit.
        listing_full: more than 50,000 videos may be stuck, and the rest was not looked at; absent if not.
        tenant_unknown: the first 100 ids of videos without a tenant; absent if there are none.
        videos: of a dry run, the first 1,000 videos with their reasons, stale ones first.
        reclaimed: videos taken from their workers and handed to the queue. This number and the next five are
            sums over both passes.
        enqueued: messages that SQS accepted.
        quarantined: videos set to FAILED after too many reclaims.
        over_limit: videos put back to work although they were reclaimed too often: the hour has had its
            quarantines.
        refused: rows that PostgreSQL refused to write, because of a constraint or a trigger for example.
        resent: videos whose lost message was sent again.
        duplicates: messages sent although an earlier one for the same video may be in the queue, by cause; a
            sum over both passes.
        skipped: number of listed videos that were left alone when it was their turn, by reason.
        failed: number of videos that failed and were not recovered, by error name.
        recovered: number of videos that failed in the first pass and succeeded in the second.
        decision: the scaling decision with all its inputs.
        metrics_error: why CloudWatch did not accept metrics of this run.
        scaling_error: error with which the group refused its new size, and its cause; set by the workflow.
    """

    dry_run: bool = False
    stale: dict[str, int] = msgspec.field(default_factory=dict)
    spared: dict[str, int] = msgspec.field(default_factory=dict)
    heartbeats_trusted: bool | UnsetType = UNSET
    distrust: Distrust | UnsetType = UNSET
    expired_but_beating: int = 0
    longest_wait_s: float | UnsetType = UNSET
    left_to_next_run: int = 0
    listing_full: bool | UnsetType = UNSET
    tenant_unknown: list[int] | UnsetType = UNSET
    videos: list[ListedVideo] | UnsetType = UNSET
    reclaimed: int = 0
    enqueued: int = 0
    quarantined: int = 0
    over_limit: int = 0
    refused: int = 0
    resent: int = 0
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    skipped: dict[str, int] = msgspec.field(default_factory=dict)
    failed: dict[str, int] = msgspec.field(default_factory=dict)
    recovered: int | UnsetType = UNSET
    decision: Decision | UnsetType = UNSET
    metrics_error: str | UnsetType = UNSET
    scaling_error: str | UnsetType = UNSET


class PassResult(msgspec.Struct):
    """One pass over a Map: the first, or the one over the failed items."""

    results: list[ItemResult]
    retried: bool

    def total(self) -> Counts:
        """Add up what was done."""
        return add_up(result.did for result in self.results)

    def failed(self) -> dict[str, int]:
        """Return the number of videos that failed, by error name."""
        return dict(sum((Counter({one.error: one.failed}) for one in self.results), Counter[str]()))


class PublishEvent(msgspec.Struct):
    """The event of PublishBacklog: the record so far, and the pass that has just ended."""

    run: RunRecord
    pass_: PassResult = msgspec.field(name="pass")


def add_pass(run: RunRecord, done: PassResult) -> RunRecord:
    """Return the record with one pass added.

    The pass over failed items only ends once all of them succeeded, so everything that had failed before is
    then recovered.
    """
    did = done.total()
    names = [field.name for field in msgspec.structs.fields(Counts) if field.name != "redis_away"]
    so_far = Counts(**{name: getattr(run, name) for name in names})
    failed = dict(Counter(run.failed) + Counter(done.failed()))
    recovered = (run.recovered or 0) + sum(failed.values())
    untrusted = did.redis_away or Reason.HEARTBEAT_UNKNOWN in did.skipped
    both = add_up([so_far, did])
    return msgspec.structs.replace(
        run,
        **{name: getattr(both, name) for name in names},
        heartbeats_trusted=False if untrusted else run.heartbeats_trusted,
        distrust="redisAway" if did.redis_away and not run.distrust else run.distrust,
        failed={} if done.retried else failed,
        recovered=recovered if done.retried else run.recovered,
    )
