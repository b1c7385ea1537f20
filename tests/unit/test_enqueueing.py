import json

import pytest

from video_reclaim.conversion import Malformed, from_builtins, to_builtins
from video_reclaim.errors import EnqueueIncomplete, QueueRefused, QueueUnavailable
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.enqueueing import Batch, ItemOutput, Sent, did_now, outcomes
from video_reclaim.rules.enqueueing import output as rules_output
from video_reclaim.rules.reclaiming import Written

EXECUTION = "arn:aws:states:eu-central-1:123456789012:execution:reclaim:one"


def batch(*videos, fail_on_partial=False, **did):
    return Batch(EXECUTION, fail_on_partial, list(videos), [2] * len(videos), Counts(**did))


def output(given, sent, *, jobs, cleared=None, redis_answered=True):
    did = did_now(given, sent, cleared or Written(), jobs=jobs, redis_answered=redis_answered)
    return rules_output(given, sent, did)


REFUSED = Sent(accepted=[1], refused={2: "InvalidMessageContents"})
FAILED_CALL = Sent(accepted=[1], not_sent=[2], error="throttled")
BOTH = Sent(accepted=[1], refused={2: "InvalidMessageContents"}, not_sent=[3], error="throttled")


def test_what_was_accepted_is_reclaimed_and_enqueued():
    before = {
        "quarantined": 1,
        "refused": 2,
        "resent": 3,
        "duplicates": {"adopted": 4},
        "skipped": {"beating": 5},
        "redis_away": 1,
    }
    done = output(batch(1, 2, **before), Sent(accepted=[1, 2]), jobs=2)
    assert done == ItemOutput(Counts(reclaimed=2, enqueued=2, **before))


@pytest.mark.parametrize(
    ("retries", "sent", "duplicates"),
    [
        pytest.param(0, Sent(accepted=[1, 2]), {"adopted": 1}, id="none-sent-before"),
        pytest.param(
            0, Sent(accepted=[1, 2], repeated=[2]), {"adopted": 1, "answerLost": 1}, id="call-made-twice"
        ),
        pytest.param(1, Sent(accepted=[1, 2], repeated=[2]), {"adopted": 1, "retried": 2}, id="tried-before"),
        pytest.param(2, Sent(), {"adopted": 1}, id="nothing-sent"),
    ],
)
def test_messages_that_may_be_second_ones_are_counted_by_cause(retries, sent, duplicates):
    given = batch(1, 2, duplicates={"adopted": 1})
    given.retries = retries
    done = output(given, sent, jobs=len(sent.accepted))
    assert done.did.duplicates == duplicates
    assert given.did.duplicates == {"adopted": 1}


def test_a_row_that_could_not_be_cleared_was_sent_and_is_counted_as_refused():
    done = output(batch(1, 2, refused=3), Sent(accepted=[1, 2]), jobs=2, cleared=Written([1], {2: "odd"}))
    assert (done.did.enqueued, done.did.reclaimed, done.did.refused, done.error) == (2, 2, 4, "")


@pytest.mark.parametrize(("before", "answered", "away"), [(0, True, 0), (0, False, 1), (1, True, 1)])
def test_redis_counts_as_away_if_either_step_found_it_so(before, answered, away):
    assert output(batch(redis_away=before), Sent(), jobs=0, redis_answered=answered).did.redis_away == away


def test_an_item_without_videos_fails_nothing():
    assert output(batch(skipped={"movedOn": 1}), Sent(), jobs=0) == ItemOutput(Counts(skipped={"movedOn": 1}))


@pytest.mark.parametrize(
    ("earlier", "skipped"),
    [
        pytest.param({}, {"movedOn": 2}, id="a-video-without-the-token-moved-on"),
        pytest.param(
            {"movedOn": 1, "beating": 1}, {"movedOn": 3, "beating": 1}, id="reclaim-counted-some-before"
        ),
    ],
)
@pytest.mark.parametrize("fail_on_partial", [False, True])
def test_videos_that_no_longer_carry_the_token_moved_on(earlier, skipped, fail_on_partial):
    given = batch(1, 2, 3, fail_on_partial=fail_on_partial, skipped=earlier)
    done = output(given, Sent(accepted=[3]), jobs=1)
    assert (done.did.skipped, done.did.enqueued, done.error) == (skipped, 1, "")
    assert given.did.skipped == earlier


@pytest.mark.parametrize(
    ("sent", "error", "ids"),
    [
        pytest.param(REFUSED, "EnqueueIncomplete", [2], id="a-refused-message"),
        pytest.param(FAILED_CALL, "QueueUnavailable", [2], id="a-call-that-failed"),
        pytest.param(BOTH, "QueueUnavailable", [2, 3], id="a-call-that-failed-after-a-refused-message"),
    ],
)
def test_a_partial_failure_names_its_videos_and_does_not_count_them(sent, error, ids):
    videos = [1, *ids]
    assert output(batch(*videos), sent, jobs=len(videos)) == ItemOutput(
        Counts(reclaimed=1, enqueued=1), error, ids
    )


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        pytest.param(REFUSED, EnqueueIncomplete, id="a-refused-message"),
        pytest.param(FAILED_CALL, QueueUnavailable, id="a-call-that-failed"),
        pytest.param(BOTH, QueueUnavailable, id="a-call-that-failed-after-a-refused-message"),
    ],
)
def test_a_partial_failure_is_raised_when_all_must_be_accepted(sent, failure):
    with pytest.raises(failure, match=r"InvalidMessageContents|throttled") as caught:
        output(batch(1, 2, 3, fail_on_partial=True), sent, jobs=3)
    assert type(caught.value) is failure


@pytest.mark.parametrize(
    ("sent", "failure", "text"),
    [
        pytest.param(
            Sent(refused={1: "bad", 2: "bad"}),
            EnqueueIncomplete,
            r"2 videos failed: 1, 2 \(bad\)",
            id="all-refused",
        ),
        pytest.param(
            Sent(not_sent=[1, 2], error="denied"),
            QueueUnavailable,
            r"2 videos failed: 1, 2 \(denied\)",
            id="no-call-succeeded",
        ),
        pytest.param(
            Sent(not_sent=[1, 2], error="denied", definite=True),
            QueueRefused,
            r"2 videos failed: 1, 2 \(denied\)",
            id="sqs-refused-the-calls",
        ),
        pytest.param(
            Sent(refused={1: "bad"}, not_sent=[2], error="denied"),
            QueueUnavailable,
            r"2 videos failed: 1 \(bad\), 2 \(denied\)",
            id="refused-and-failed",
        ),
    ],
)
def test_a_failure_without_any_accepted_message_is_always_raised(sent, failure, text):
    with pytest.raises(failure, match=f"^{text}$") as caught:
        output(batch(1, 2), sent, jobs=2)
    assert type(caught.value) is failure


@pytest.mark.parametrize(
    ("done", "written"),
    [
        pytest.param(
            ItemOutput(Counts(reclaimed=1, enqueued=1)),
            {"did": {"reclaimed": 1, "enqueued": 1}},
            id="without-a-failure-only-the-counts",
        ),
        pytest.param(
            output(batch(1, 2), REFUSED, jobs=2),
            {"did": {"reclaimed": 1, "enqueued": 1}, "error": "EnqueueIncomplete", "ids": [2]},
            id="a-failure-names-error-and-videos",
        ),
        pytest.param(
            output(batch(1, 2), Sent(accepted=[2]), jobs=1),
            {"did": {"reclaimed": 2, "enqueued": 1, "skipped": {"movedOn": 1}}},
            id="reasons-are-plain-text",
        ),
    ],
)
def test_the_json_form_leaves_out_zeros(done, written):
    assert json.loads(json.dumps(to_builtins(done))) == written
    assert from_builtins(to_builtins(done), ItemResult).did == done.did


def test_the_event_is_read_and_names_a_missing_field():
    event = {
        "execution": EXECUTION,
        "failOnPartial": True,
        "videos": [1],
        "attempts": [2],
        "did": {"refused": 1},
    }
    assert from_builtins(event, Batch) == batch(1, fail_on_partial=True, refused=1)
    del event["failOnPartial"]
    with pytest.raises(Malformed) as caught:
        from_builtins(event, Batch)
    assert caught.value.field == "failOnPartial"


def test_every_message_leaves_a_trace():
    attempts = {1: 2, 2: 3, 3: 4, 4: 5}
    sent = Sent(accepted=[1, 4], refused={2: "bad"}, not_sent=[3], error="throttled")
    assert list(outcomes(sent, attempts, {4: 250, 3: 9}, Written(refused={4: "odd"}))) == [
        ("enqueued", {"video": 1, "attempt": 2}),
        ("enqueued", {"video": 4, "attempt": 5, "delay_s": 250}),
        ("not enqueued", {"video": 2, "attempt": 3, "error": "bad"}),
        ("not enqueued", {"video": 3, "attempt": 4, "error": "throttled"}),
        ("refused", {"video": 4, "error": "odd"}),
    ]


def test_without_a_message_there_is_no_trace():
    assert list(outcomes(Sent(), {1: 2}, {}, Written())) == []
