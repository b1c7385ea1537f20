"""The main job, input and settings: what must happen, and what must not."""

import json
import time

import pytest

from dev.local.processes import free_port
from dev.testing.messages import exact_body
from dev.testing.servers import SEEN_KEY
from tests.workflow.mixture import SILENT_AFTER_S, TENANTS, beat, fill

IDLE = ["ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft", "Report"]


def succeeded(workflow, given=None):
    """Run to the end; return the record."""
    execution = workflow.run(given)
    assert execution["status"] == "SUCCEEDED", execution
    return execution["record"]


def put_back(row):
    """A row as it must be once it is reclaimed and in the queue: three columns change, and no other."""
    session, file_key, _status, _by, _until, *others = row
    return (session, file_key, "UPLOADED", "", None, *others)


def test_exactly_the_stale_videos_of_any_mixture_go_back_to_work(workflow, academy):
    kinds = fill(academy)
    at_once = {video_id for video_id, kind in kinds.items() if kind.reclaimed_at_once}
    silent = {video_id for video_id, kind in kinds.items() if kind.silent}
    doubtful = {video_id for video_id, kind in kinds.items() if kind.doubtful}
    assert len(silent) > 40 > len(at_once) > 0, "both single items and batches are to be seen"
    before = academy.rows()

    first = succeeded(workflow)
    after_first = {
        video_id: put_back(row) if video_id in at_once else row for video_id, row in before.items()
    }
    assert academy.rows() == after_first
    assert first["reclaimed"] == first["enqueued"] == len(at_once)
    assert first["spared"]["suspect"] == len(silent)
    assert first["spared"]["tenantUnknown"] == len(doubtful)
    assert set(first["tenantUnknown"]) <= doubtful and len(first["tenantUnknown"]) == 100

    academy.pass_time(SILENT_AFTER_S + 1)
    beat(academy, kinds, left_s=60)
    second = succeeded(workflow)
    assert academy.rows() == {
        video_id: put_back(row) if video_id in silent else row for video_id, row in after_first.items()
    }
    orphans = sum(kinds[video_id].orphaned for video_id in silent)
    assert second["stale"] == {"silent": len(silent) - orphans, "orphaned": orphans}
    assert second["reclaimed"] == second["enqueued"] == len(silent)

    bodies = sorted(workflow.queue.take_all(), key=lambda body: body["video_id"])
    assert bodies == [
        exact_body(
            video_id,
            tenant=kinds[video_id].session,
            code=TENANTS[kinds[video_id].session],
            attempt=1 if kinds[video_id].orphaned else 2,
            created_at=body["created_at"],
        )
        for video_id, body in zip(sorted(at_once | silent), bodies, strict=True)
    ]


def everything(workflow, academy):
    """All that an execution could write to, with the moments at which keys expire."""
    keys = sorted(academy.redis.scan_iter(count=1000))
    return {
        "rows": academy.rows(),
        "redis": {key: (academy.redis.dump(key), academy.redis.pexpiretime(key)) for key in keys},
        "messages": workflow.queue.count(),
        "metrics": {series: list(points) for series, points in workflow.aws.points.items()},
        "group": (workflow.desired(), list(workflow.aws.desired_set)),
        "parameters": workflow.ssm.describe_parameters()["Parameters"],
    }


def test_a_dry_run_tells_each_video_with_its_reason_and_writes_nothing_anywhere(workflow, academy):
    silent, orphan = academy.add(), academy.add("UPLOADED", by="reclaim:crashed", until=-5)
    succeeded(workflow)
    academy.pass_time(SILENT_AFTER_S + 1)
    workflow.second_looks.clear()
    videos = {
        silent: "silent",
        academy.add(until=-5): "leaseExpired",
        orphan: "orphaned",
        academy.add(): "suspect",
        academy.add(beats=True): "beating",
    }
    academy.add("UPLOADED")
    workflow.calls.clear()
    before = everything(workflow, academy)

    record = succeeded(workflow, {"dryRun": True})

    assert everything(workflow, academy) == before
    assert {video["id"]: video["reason"] for video in record["videos"]} == videos
    assert record["spared"] == {"suspect": 1, "beating": 1}
    assert record["decision"]["action"] == "scale-out"
    assert [call.function for call in workflow.calls] == ["ListStaleVideos", "PublishBacklog"]
    assert workflow.second_looks == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"dryrun": True}, "dryrun", id="misspelt-field"),
        pytest.param({"limit": 0}, "limit", id="out-of-range"),
        pytest.param([], "input", id="no-object"),
    ],
)
def test_a_wrong_input_fails_before_any_write_and_names_the_field(workflow, academy, given, field):
    """Which inputs are wrong is tested where they are read."""
    academy.add(until=-5)
    before = everything(workflow, academy)

    execution = workflow.run(given)

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidInput")
    assert json.loads(execution["cause"])["errorMessage"].startswith(f"{field}: ")
    assert everything(workflow, academy) == before
    assert len(workflow.calls) == 1, "the same input would fail again"


@pytest.mark.parametrize(
    ("function", "setting", "last"),
    [
        pytest.param("ListStaleVideos", "RECLAIMING_SILENT_AFTER_SECONDS", "NotListed", id="listing"),
        pytest.param("Reclaim", "REDIS_URL", "ReclaimAgain", id="reclaiming"),
        pytest.param("Enqueue", "QUEUES_URLS", "EnqueueAgain", id="enqueueing"),
        pytest.param("PublishBacklog", "WORKERS_GROUP_NAME", "PublishBacklog", id="publishing"),
    ],
)
def test_a_missing_setting_fails_with_its_name_and_is_not_retried(workflow, academy, function, setting, last):
    academy.add(until=-5)
    del workflow.environment[function][setting]

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidSetting")
    assert json.loads(execution["cause"])["errorMessage"] == f"{setting}: is not set"
    assert workflow.route(execution)[-1] == last
    assert workflow.waits == []


def test_an_idle_run_enters_five_states(workflow, academy):
    academy.add(beats=True)

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert workflow.route(execution) == IDLE
    assert workflow.published("BacklogCount") == [1]
    assert [call.function for call in workflow.calls] == ["ListStaleVideos", "PublishBacklog"]


class TestSecondLook:
    @pytest.fixture
    def suspect(self, workflow, academy):
        """A video whose heartbeat was not renewed since a look 40 s ago."""
        video = academy.add(beats=True)
        succeeded(workflow)
        academy.pass_time(40, video)
        assert workflow.second_looks == [], "one look proves nothing"
        workflow.aws.points.clear()
        return video

    def test_a_run_waits_for_the_rest_of_the_silence_and_looks_again(self, workflow, academy, suspect):
        expired = academy.add(until=-5)
        workflow.meanwhile = lambda: academy.pass_time(22, suspect)
        since_s = float(json.loads(academy.redis.hget(SEEN_KEY, str(suspect)))[0])

        record = succeeded(workflow)

        (wait_s,) = workflow.second_looks
        assert 62 - (time.time() - since_s) <= wait_s <= 22, "at most 20 s are left, and a margin"
        assert workflow.queue.take_ids() == sorted([expired, suspect])
        assert record["stale"] == {"leaseExpired": 1, "silent": 1}
        assert record["enqueued"] == 2
        assert workflow.published("VideosEnqueued") == [1, 1]

    def test_a_worker_that_beats_meanwhile_keeps_its_video(self, workflow, academy, suspect):
        workflow.meanwhile = lambda: academy.beat(suspect, left_s=70)

        assert succeeded(workflow)["spared"] == {"beating": 1}
        assert academy.state(suspect)[0] == "PROCESSING"

    def test_there_is_one_second_look_a_run(self, workflow, academy, suspect):
        succeeded(workflow)
        assert len(workflow.second_looks) == 1

    def test_the_limit_holds_over_both_looks(self, workflow, academy, suspect):
        academy.add(until=-5)
        workflow.meanwhile = lambda: academy.pass_time(22, suspect)

        record = succeeded(workflow, {"limit": 1})

        assert (record["enqueued"], record["leftToNextRun"]) == (1, 1)

    def test_a_second_listing_that_fails_keeps_what_was_done_and_fails_the_execution(
        self, workflow, academy, suspect
    ):
        academy.add(until=-5)

        def lose_the_database():
            workflow.environment["ListStaleVideos"]["DATABASE_PORT"] = str(free_port())

        workflow.meanwhile = lose_the_database
        execution = workflow.run()

        assert (execution["status"], execution["error"]) == ("FAILED", "StoreUnavailable")
        assert workflow.route(execution)[-1] == "NotListed"
        assert len(workflow.queue.take_ids()) == 1
        assert workflow.asked("PublishBacklog")[-1]["run"]["enqueued"] == 1


def test_twelve_videos_move_the_group_from_one_to_twelve_in_one_execution(workflow, academy):
    for _ in range(7):
        academy.add("UPLOADED")
    for _ in range(5):
        academy.add(until=-5)

    record = succeeded(workflow)

    assert workflow.aws.desired_set == [12] and workflow.desired() == 12
    assert record["decision"]["action"] == "scale-out"


def test_a_limit_takes_the_oldest_and_says_how_many_are_left(workflow, academy):
    ids = [academy.add(until=-5, started=-7200 + age) for age in (30, 10, 20)]

    record = succeeded(workflow, {"limit": 2})

    assert workflow.queue.take_ids() == sorted([ids[1], ids[2]])
    assert record["leftToNextRun"] == 1


def test_a_terminated_instance_loses_its_videos_at_once(workflow, academy):
    instance = "i-0123456789abcdef0"
    lost = academy.add(by=f"{instance}-4711", beats=True)
    other = academy.add(by="i-0fedcba9876543210-4711", beats=True)

    record = succeeded(workflow, {"terminated": [instance]})

    assert record["stale"] == {"workerGone": 1}
    assert workflow.queue.take_ids() == [lost]
    assert academy.state(other)[0] == "PROCESSING"


def test_videos_reclaimed_too_often_are_quarantined_neighbours_sent_and_an_operator_releases_them(
    workflow, academy
):
    poison, healthy = academy.add(until=-5), academy.add(until=-5)
    now = academy.redis.time()[0]
    claims = {f"{academy.upload(poison)} claim-{n}": now - n for n in range(5)}
    academy.redis.zadd(f"tenant:1:video:{poison}:reclaims", claims)

    record = succeeded(workflow)

    assert record["quarantined"] == record["enqueued"] == 1
    assert academy.state(poison) == ("FAILED", "", False)
    assert workflow.queue.take_ids() == [healthy]
    assert workflow.published("VideosQuarantined") == [1]
    failed_otherwise, before = academy.add("FAILED"), academy.rows()
    given = {"release": [poison, failed_otherwise, 4242]}

    asked = succeeded(workflow, given | {"dryRun": True})
    assert asked["videos"][0] == {"id": poison, "reason": "released"}
    assert academy.rows() | before == academy.rows()

    released = succeeded(workflow, given)
    assert released["stale"] == {"released": 1} and released["spared"]["movedOn"] == 1
    assert workflow.queue.take_ids() == [poison]
    assert academy.state(poison) == ("UPLOADED", "", False)
    assert academy.state(failed_otherwise)[0] == "FAILED"


def test_silence_does_not_count_while_redis_is_away(workflow, academy):
    silent = academy.add()
    succeeded(workflow)
    academy.pass_time(SILENT_AFTER_S + 1)
    expired = academy.add(until=-5)
    for function in ("ListStaleVideos", "Reclaim"):
        workflow.environment[function]["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"

    record = succeeded(workflow)

    assert (record["heartbeatsTrusted"], record["distrust"]) == (False, "redisAway")
    assert record["spared"] == {"heartbeatUnknown": 1}
    assert workflow.published("HeartbeatsTrusted")[-1] == 0
    assert academy.state(silent)[0] == "PROCESSING"
    assert workflow.queue.take_ids() == [expired]


def test_a_lost_message_is_sent_again_after_the_queue_was_clear_in_two_looks(workflow, academy):
    waiting = academy.add("UPLOADED")
    succeeded(workflow)
    academy.pass_time(301)
    assert succeeded(workflow)["resent"] == 0, "one look at the queue is not enough"
    academy.pass_time(61)

    record = succeeded(workflow)

    assert (record["stale"], record["resent"]) == ({"messageLost": 1}, 1)
    assert workflow.queue.take_ids() == [waiting]
    assert workflow.published("VideosResent") == [1]
    assert 300 < record["longestWaitS"] < 420 and 300 < workflow.published("OldestBacklogAge")[-1] < 420
    assert succeeded(workflow)["resent"] == 0, "it is sent once, and waits anew"
