import json
from datetime import UTC, datetime

import msgspec
import pytest

from video_reclaim.conversion import Malformed, from_builtins, to_builtins
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.run_record import ListedVideo, PassResult, RunRecord, add_pass
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Group, Inputs, Point, Scaling

AT = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
BEGUN = RunRecord(stale={"leaseExpired": 3}, heartbeats_trusted=True)
DECISION = decide(
    Inputs(
        at=AT,
        uploaded=3,
        processing=None,
        visible=3,
        window=(Point(AT, 3.0),),
        group=Group(min=1, max=20, desired=1, in_service=1, safety="protected"),
        settings=Scaling("apply", 1, 1, 120, 1200, "/order"),
        measured_every_s=60,
    )
)


def one_pass(*results, retried=False):
    return PassResult(list(results), retried)


def failed(error, count):
    return ItemResult(error=error, failed=count)


def did(**counts):
    return ItemResult(Counts(**counts))


def through_json(record):
    return from_builtins(json.loads(json.dumps(to_builtins(record))), type(record))


def test_items_add_up():
    done = one_pass(
        did(reclaimed=2, quarantined=1, skipped={"movedOn": 1}, enqueued=2, resent=1, redis_away=1),
        did(over_limit=6),
        did(
            reclaimed=1, refused=3, skipped={"movedOn": 2, "beating": 1}, resent=4, duplicates={"adopted": 2}
        ),
        did(duplicates={"adopted": 1, "retried": 4}),
        did(redis_away=1),
        failed("QueueUnavailable", 2),
        ItemResult(Counts(reclaimed=1), "StoreRefused", 1),
    )
    assert done.total() == Counts(
        reclaimed=4,
        enqueued=2,
        quarantined=1,
        over_limit=6,
        refused=3,
        resent=5,
        duplicates={"adopted": 3, "retried": 4},
        skipped={"movedOn": 3, "beating": 1},
        redis_away=2,
    )
    assert done.failed() == {"QueueUnavailable": 2, "StoreRefused": 1}


def test_items_that_failed_alike_add_up_by_error():
    assert one_pass(failed("A", 2), failed("A", 3), failed("B", 1)).failed() == {"A": 5, "B": 1}


def test_no_item_adds_up_to_nothing():
    assert (one_pass().total(), one_pass().failed()) == (Counts(), {})


def test_adding_up_leaves_the_results_as_they_are():
    results = one_pass(did(reclaimed=1, skipped={"movedOn": 1}), did(reclaimed=1, skipped={"movedOn": 1}))
    assert results.total() == results.total()
    assert results.results[0].did == Counts(reclaimed=1, skipped={"movedOn": 1})


def test_the_first_pass_keeps_what_the_listing_said():
    run = add_pass(BEGUN, one_pass(did(reclaimed=1, enqueued=1, quarantined=2, refused=1)))
    assert run == RunRecord(
        stale={"leaseExpired": 3}, heartbeats_trusted=True, reclaimed=1, enqueued=1, quarantined=2, refused=1
    )


def test_the_counts_of_both_passes_add_up():
    counts = did(
        reclaimed=1,
        enqueued=2,
        quarantined=3,
        refused=4,
        resent=5,
        duplicates={"retried": 6},
        skipped={"movedOn": 5},
    )
    run = add_pass(add_pass(BEGUN, one_pass(counts)), one_pass(counts, retried=True))
    assert (run.reclaimed, run.enqueued, run.quarantined, run.refused) == (2, 4, 6, 8)
    assert (run.resent, run.duplicates, run.skipped) == (10, {"retried": 12}, {"movedOn": 10})


@pytest.mark.parametrize(
    ("listed", "item", "trusted"),
    [
        pytest.param(True, did(reclaimed=1), True, id="no-step-found-redis-away"),
        pytest.param(True, did(redis_away=1), False, id="it-did-not-answer-one-item"),
        pytest.param(
            True, did(skipped={"heartbeatUnknown": 1}), False, id="it-could-not-tell-about-one-video"
        ),
        pytest.param(True, did(skipped={"beating": 1}), True, id="it-could-tell-about-a-skipped-video"),
        pytest.param(False, did(reclaimed=1), False, id="the-listing-found-it-away"),
        pytest.param(msgspec.UNSET, did(reclaimed=1), msgspec.UNSET, id="the-listing-failed"),
        pytest.param(
            msgspec.UNSET, did(redis_away=1), False, id="the-listing-failed-and-an-item-found-it-away"
        ),
    ],
)
@pytest.mark.parametrize("retried", [False, True], ids=["first-pass", "second-pass"])
def test_heartbeats_are_trusted_as_the_worst_step_says(listed, item, trusted, retried):
    run = add_pass(RunRecord(heartbeats_trusted=listed), one_pass(did(), item, retried=retried))
    assert run.heartbeats_trusted is trusted


def test_a_later_pass_does_not_restore_trust_and_the_first_cause_stays():
    run = add_pass(add_pass(BEGUN, one_pass(did(redis_away=1))), one_pass(did(), retried=True))
    assert (run.heartbeats_trusted, run.distrust) == (False, "redisAway")
    run = add_pass(RunRecord(distrust="massSilence"), one_pass(did(redis_away=1)))
    assert run.distrust == "massSilence"


def test_a_pass_keeps_what_the_listing_found():
    found = {"expired_but_beating": 1, "listing_full": True, "longest_wait_s": 3.5, "left_to_next_run": 4}
    run = add_pass(RunRecord(**found), one_pass(did(reclaimed=1)))
    assert {name: getattr(run, name) for name in found} == found


def test_what_failed_first_and_succeeded_later_is_recovered():
    first = add_pass(BEGUN, one_pass(failed("QueueUnavailable", 2)))
    assert (first.failed, first.recovered) == ({"QueueUnavailable": 2}, msgspec.UNSET)
    second = add_pass(first, one_pass(did(enqueued=2, skipped={"movedOn": 1}), retried=True))
    assert (second.failed, second.recovered, second.enqueued) == ({}, 2, 2)


def test_what_is_recovered_after_both_looks_adds_up():
    run = BEGUN
    for failures in (2, 3):
        run = add_pass(run, one_pass(failed("QueueUnavailable", failures)))
        run = add_pass(run, one_pass(did(), retried=True))
    assert (run.failed, run.recovered) == ({}, 5)


def test_both_passes_at_once_when_the_first_could_not_be_published():
    results = one_pass(failed("StoreUnavailable", 1), did(reclaimed=1, enqueued=1), retried=True)
    run = add_pass(BEGUN, results)
    assert (run.failed, run.recovered, run.reclaimed) == ({}, 1, 1)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(RunRecord(), id="an-empty-record"),
        pytest.param(
            RunRecord(
                dry_run=True,
                stale={"orphaned": 1},
                spared={"tenantUnknown": 2},
                heartbeats_trusted=False,
                expired_but_beating=2,
                distrust="massSilence",
                listing_full=True,
                longest_wait_s=4.5,
                left_to_next_run=4,
                tenant_unknown=[8, 9],
                videos=[ListedVideo(7, Reason.ORPHANED), ListedVideo(8, Reason.TENANT_UNKNOWN)],
                reclaimed=1,
                enqueued=2,
                quarantined=3,
                over_limit=8,
                refused=4,
                resent=5,
                duplicates={"adopted": 6},
                skipped={"beating": 5},
                failed={"QueueUnavailable": 6},
                recovered=7,
                decision=DECISION,
                metrics_error="denied",
                scaling_error="AutoScaling.ScalingActivityInProgress",
            ),
            id="a-record-with-every-field",
        ),
        pytest.param(DECISION, id="a-decision"),
    ],
)
def test_a_record_survives_json(record):
    assert through_json(record) == record


def test_the_json_form_leaves_out_what_does_not_apply():
    nothing = {"dryRun": False, "stale": {}, "spared": {}, "duplicates": {}, "skipped": {}, "failed": {}}
    zeros = dict.fromkeys(
        (
            "expiredButBeating",
            "overLimit",
            "leftToNextRun",
            "reclaimed",
            "enqueued",
            "quarantined",
            "refused",
            "resent",
        ),
        0,
    )
    assert to_builtins(RunRecord()) == nothing | zeros


def test_the_counts_of_an_item_leave_out_zeros():
    assert to_builtins(Counts()) == {}
    assert to_builtins(Counts(duplicates={"adopted": 2}, redis_away=1)) == {
        "duplicates": {"adopted": 2},
        "redisAway": 1,
    }


def test_a_reason_that_does_not_exist_is_refused():
    with pytest.raises(Malformed) as caught:
        from_builtins({"videos": [{"id": 1, "reason": "bored"}]}, RunRecord)
    assert caught.value.field == "videos[0].reason"
