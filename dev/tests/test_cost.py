"""The cost model counts what the definition says."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import publish_backlog
from dev.bench import compare, report
from dev.cost import (
    DEFINITION,
    DOCUMENT,
    IDLE,
    LATER_ALARMS,
    LOG_BYTES_A_VIDEO,
    METRICS_OF_A_BUSY_RUN,
    Day,
    Deployment,
    batched,
    document,
    monthly,
    read_deployment,
    run_of,
    used,
)
from video_reclaim import log
from video_reclaim.metrics import METRICS
from video_reclaim.rules import enqueueing, listing, reclaiming
from video_reclaim.rules.batching import batches
from video_reclaim.rules.counts import Counts, ItemResult
from video_reclaim.rules.run_record import PassResult, PublishEvent, RunRecord
from video_reclaim.rules.staleness import Heartbeat, Reason, Strike, Video
from video_reclaim.rules.waiting import Waits
from video_reclaim.settings import Metrics

MACHINE = json.loads(DEFINITION.read_text())
DURATIONS = {"ListStaleVideos": 0.1, "Reclaim": 0.1, "Enqueue": 0.1, "PublishBacklog": 0.1}
HERE = Deployment(runs_a_day=1440, memory_gb=0.5, queues=4, fixed={"alarms": 11.0})


def test_an_idle_run_enters_five_states():
    assert run_of(MACHINE, 0) == dict.fromkeys(
        ("ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft", "Report"), 1
    )


def test_a_run_that_finds_silent_videos_looks_twice():
    entered = run_of(MACHINE, 7)
    assert entered["ListStaleVideos"] == entered["PublishBacklog"] == 2
    assert entered["ConfirmSilence"] == 1
    assert entered["Reclaim"] == entered["Enqueue"] == 7


def test_each_item_enters_two_states_of_its_own():
    assert run_of(MACHINE, 7).total() - run_of(MACHINE, 6).total() == 2


@pytest.mark.parametrize("videos", [1, 40, 41, 999, 6_000, 6_001, 10_000])
def test_items_are_counted_as_the_listing_makes_them(videos):
    made = batches(range(videos))
    assert batched(videos) == (len(made), len(made[0]))


def test_a_batch_is_sent_ten_a_call():
    assert used(HERE, MACHINE, DURATIONS, 1_000)["SQS requests"] == 2 * 4 + 40 * 3


def sums_of(counts):
    """The series of one pass that did this, those of sums only."""
    given = PublishEvent(RunRecord(), PassResult([ItemResult(counts)], retried=False))
    seen = publish_backlog.Measurement(None, {}, (None, None), (None, True))
    found = publish_backlog.measured(Metrics("Academy", {}), seen, given)
    return {one.name for one in found if METRICS[one.name].statistic == "Sum"}


def test_a_run_that_does_nothing_publishes_no_sums():
    assert sums_of(Counts()) == set()


def test_a_run_that_puts_videos_back_publishes_as_many_sums_as_it_is_charged_for():
    assert sums_of(Counts(reclaimed=2, enqueued=2)) == {"VideosReclaimed", "VideosEnqueued"}
    assert METRICS_OF_A_BUSY_RUN == 2


@pytest.mark.parametrize(
    ("runs", "videos", "metrics"),
    [
        pytest.param(0, 0, 10, id="idle"),
        pytest.param(6, 2, 10.5, id="two-more-in-six-hours-of-a-day"),
        pytest.param(24, 2, 12, id="two-more-in-every-hour"),
        pytest.param(500, 2, 12, id="several-runs-an-hour-are-charged-once"),
    ],
)
def test_a_metric_is_charged_for_the_hours_in_which_it_is_published(runs, videos, metrics):
    here = replace(HERE, fixed={"alarms": 11.0, "custom metrics": 10.0})
    month = monthly(here, MACHINE, DURATIONS, Day("d", runs, videos))
    assert month["custom metrics"] == pytest.approx((metrics, 0.3 * metrics))


def test_a_month_takes_off_the_free_tier_and_adds_what_is_fixed():
    idle = monthly(HERE, MACHINE, DURATIONS, IDLE)
    amount, cost = idle["state transitions"]
    assert amount == pytest.approx(1440 * 30.4 * 5)
    assert cost == pytest.approx((amount - 4_000) * 0.025 / 1_000)
    assert idle["alarms"] == (8.0, pytest.approx(0.8))
    assert idle[LATER_ALARMS] == (3.0, pytest.approx(0.3))
    assert idle["Scheduler starts"][1] == 0


def test_a_video_logs_as_many_bytes_as_are_counted(capsys, monkeypatch):
    holder, uuid, now_s = "i-0123456789abcdef0-4711", "0a1b2c3d-0123-4567-89ab-0123456789ab", 1.7e9
    lease = f'({holder},"2026-11-25 14:00:00.123456+00","2026-11-25 10:00:00.123456+00")'
    video = Video(
        id=123_456,
        status="PROCESSING",
        tenant_id=1,
        leased_by=holder,
        lease=lease,
        upload="0123456789ab",
        lease_expired=False,
        quarantined=False,
        now_s=now_s,
        leased_by_claim=True,
    )
    beats = {video.id: Heartbeat(present=False, strike=Strike(now_s, lease))}
    todo = reclaiming.Plan({video.id: Reason.SILENT_TWICE}, [video], {video.id: 2})
    leased, history = reclaiming.Written([video.id]), reclaiming.History(heartbeats=beats)
    sent = enqueueing.Sent([video.id])
    for step, lines in {
        "ListStaleVideos": listing.findings([video], beats, Waits(), {video.id: Reason.SILENT_ONCE}),
        "Reclaim": reclaiming.outcomes([video.id], [video], todo, history, leased, reclaiming.Written()),
        "Enqueue": enqueueing.outcomes(sent, todo.attempts, {}, reclaiming.Written()),
    }.items():
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", f"video-reclaim-existing-{step}")
        write = log.handler(lambda event, _: log.trace(event["lines"]))
        # EventBridge Scheduler names an execution by two UUIDs.
        execution = f"arn:aws:states:us-east-1:123456789012:execution:reclaim-videos:{uuid}_{uuid}"
        write({"execution": execution, "lines": lines}, SimpleNamespace(aws_request_id=uuid))

    written = capsys.readouterr().out
    assert len(written.splitlines()) == 3
    assert len(written) == pytest.approx(LOG_BYTES_A_VIDEO, rel=0.03)


def test_more_videos_never_cost_less():
    costs = [
        sum(cost for _, cost in monthly(HERE, MACHINE, DURATIONS, Day("d", 10, videos)).values())
        for videos in (0, 1, 40, 400, 4_000)
    ]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_the_document_is_the_same_for_the_same_durations():
    assert document(HERE, MACHINE, DURATIONS) == document(HERE, MACHINE, DURATIONS)
    assert "| **all** | |" in document(HERE, MACHINE, DURATIONS)


def test_the_written_document_is_the_one_that_the_command_writes():
    stored = report.load(compare.BASELINE).sections["cost"].facts
    assert document(*read_deployment(), stored) in DOCUMENT.read_text()
