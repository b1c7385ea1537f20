"""The main job, input and settings: what must happen, and what must not."""

import json

import pytest

from dev.local.processes import free_port
from tests.mixture import check_main_job
from tests.workflow.breakages import BREAKAGES, broken

IDLE = ["ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft", "Report"]


def check(workflow, academy):
    def run():
        execution = workflow.run()
        assert execution["status"] == "SUCCEEDED", execution
        return execution["record"]

    check_main_job(academy, workflow.queue, run)


def test_exactly_the_stale_videos_of_any_mixture_go_back_to_work(workflow, academy):
    check(workflow, academy)


@pytest.mark.parametrize(
    "definition", [broken(BREAKAGES["enqueue-gets-another-execution"])], ids=["other-token"]
)
def test_the_check_above_sees_an_enqueue_without_its_token(workflow, academy):
    with pytest.raises(AssertionError):
        check(workflow, academy)


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


@pytest.fixture
def troubled(workflow, academy):
    """An academy with a backlog, one video of every reason, and a first strike that has aged."""
    academy.add("UPLOADED")
    academy.add(until=-5)
    silent = academy.add()
    workflow.run()
    academy.strike(silent, ago_s=61)
    academy.add(until=-5)
    academy.add()
    academy.add("UPLOADED", by="reclaim:crashed", until=-5)
    academy.add(beats=True)
    workflow.calls.clear()
    workflow.second_looks.clear()
    return workflow


def test_a_dry_run_tells_each_video_with_its_reason_and_writes_nothing_anywhere(troubled, academy):
    before = everything(troubled, academy)

    execution = troubled.run({"dryRun": True})

    assert everything(troubled, academy) == before
    assert execution["status"] == "SUCCEEDED"
    assert {video["id"]: video["reason"] for video in execution["record"]["videos"]} == {
        3: "silentTwice",
        4: "leaseExpired",
        5: "silentOnce",
        6: "orphaned",
        7: "beating",
    }
    assert execution["record"]["spared"] == {"silentOnce": 1, "beating": 1}
    assert execution["record"]["decision"]["desired"] == 6  # 3 in service, 3 waiting
    assert {call.function for call in troubled.calls} == {"ListStaleVideos", "PublishBacklog"}
    assert troubled.second_looks == []


@pytest.mark.parametrize(
    ("given", "field", "problem"),
    [
        pytest.param({"dryRun": "yes"}, "dryRun", "got `str`", id="dry-run-is-a-string"),
        pytest.param({"dryRun": 1}, "dryRun", "got `int`", id="dry-run-is-a-number"),
        pytest.param({"dryRun": None}, "dryRun", "got `null`", id="dry-run-is-null"),
        pytest.param({"limit": "5"}, "limit", "got `str`", id="limit-is-a-string"),
        pytest.param({"limit": 2.5}, "limit", "got `float`", id="limit-is-a-fraction"),
        pytest.param({"limit": True}, "limit", "got `bool`", id="limit-is-a-boolean"),
        pytest.param({"limit": 0}, "limit", ">= 1", id="limit-is-zero"),
        pytest.param({"limit": 10_001}, "limit", "<= 10000", id="limit-is-beyond-the-cap"),
        pytest.param({"dryrun": True}, "dryrun", "is not a field", id="misspelt-field"),
        pytest.param([], "input", "Expected `object`", id="a-list"),
        pytest.param(0, "input", "Expected `object`", id="a-number"),
    ],
)
def test_a_wrong_input_fails_before_any_write_and_names_the_field(workflow, academy, given, field, problem):
    academy.add(until=-5)
    academy.add()
    before = everything(workflow, academy)

    execution = workflow.run(json.dumps(given))

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidInput")
    message = json.loads(execution["cause"])["errorMessage"]
    assert message.startswith(f"{field}: ") and problem in message
    assert everything(workflow, academy) == before
    assert len(workflow.calls) == 1, "the same input would fail again"


@pytest.mark.parametrize(
    ("function", "setting", "failing"),
    [
        pytest.param("ListStaleVideos", "DATABASE_HOST", "ListStaleVideos", id="listing-without-database"),
        pytest.param("ListStaleVideos", "REDIS_URL", "ListStaleVideos", id="listing-without-redis"),
        pytest.param("Reclaim", "DATABASE_NAME", "ReclaimAgain", id="reclaiming-without-database"),
        pytest.param("Reclaim", "REDIS_URL", "ReclaimAgain", id="reclaiming-without-redis"),
        pytest.param("Enqueue", "QUEUES_URLS", "EnqueueAgain", id="enqueueing-without-queue"),
        pytest.param("PublishBacklog", "QUEUES_URLS", "PublishBacklog", id="publishing-without-queues"),
        pytest.param("PublishBacklog", "WORKERS_GROUP_NAME", "PublishBacklog", id="publishing-without-group"),
    ],
)
def test_a_missing_setting_fails_with_its_name_and_is_not_retried(
    workflow, academy, function, setting, failing
):
    academy.add(until=-5)
    del workflow.environment[function][setting]

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidSetting")
    assert json.loads(execution["cause"])["errorMessage"] == f"{setting}: is not set"
    assert workflow.route(execution)[-1] == failing
    assert workflow.waits == []


def test_an_idle_run_enters_five_states(workflow, academy):
    academy.add(beats=True)

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert workflow.route(execution) == IDLE
    assert workflow.published("BacklogCount") == [1]
    assert [call.function for call in workflow.calls] == ["ListStaleVideos", "PublishBacklog"]


class TestSecondLook:
    def test_a_run_confirms_what_it_saw_for_the_first_time(self, workflow, academy):
        expired, silent = academy.add(until=-5), academy.add()
        workflow.meanwhile = lambda: academy.strike(silent, ago_s=61)

        execution = workflow.run()

        assert execution["status"] == "SUCCEEDED"
        assert workflow.second_looks == [62]
        assert workflow.queue.take_ids() == [expired, silent]
        assert execution["record"]["stale"] == {"leaseExpired": 1, "silentTwice": 1}
        assert execution["record"]["enqueued"] == 2
        assert workflow.published("VideosEnqueued") == [1, 1]

    def test_a_worker_that_beats_meanwhile_keeps_its_video(self, workflow, academy):
        silent = academy.add()
        workflow.meanwhile = lambda: academy.redis.set(f"tenant:1:video:{silent}:heartbeat", "1")

        execution = workflow.run()

        assert execution["record"]["spared"] == {"beating": 1}
        assert academy.state(silent)[0] == "PROCESSING"

    def test_there_is_one_second_look_a_run(self, workflow, academy):
        academy.add()
        workflow.meanwhile = lambda: academy.add()

        assert workflow.run()["record"]["spared"] == {"silentOnce": 2}
        assert len(workflow.second_looks) == 1

    def test_the_limit_holds_over_both_looks(self, workflow, academy):
        academy.add(until=-5)
        silent = academy.add()
        workflow.meanwhile = lambda: academy.strike(silent, ago_s=61)

        record = workflow.run({"limit": 1})["record"]

        assert (record["enqueued"], record["leftToNextRun"]) == (1, 1)

    def test_a_second_listing_that_fails_keeps_what_was_done_and_fails_the_execution(self, workflow, academy):
        academy.add(until=-5)
        academy.add()

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

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert workflow.aws.desired_set == [12] and workflow.desired() == 12
    assert execution["record"]["decision"]["action"] == "scale-out"


def test_a_limit_takes_the_oldest_and_says_how_many_are_left(workflow, academy):
    ids = [academy.add(until=-5, started=-7200 + age) for age in (30, 10, 20)]

    execution = workflow.run({"limit": 2})

    assert workflow.queue.take_ids() == sorted([ids[1], ids[2]])
    assert execution["record"]["leftToNextRun"] == 1


def test_videos_reclaimed_too_often_are_quarantined_and_counted_neighbours_sent(workflow, academy):
    poison, healthy = academy.add(until=-5), academy.add(until=-5)
    academy.redis.zadd(
        f"tenant:1:video:{poison}:reclaims",
        {f"{academy.upload(poison)} run-{n}": academy.redis.time()[0] - n for n in range(5)},
    )

    execution = workflow.run()

    assert execution["record"]["quarantined"] == execution["record"]["enqueued"] == 1
    assert academy.state(poison) == ("FAILED", "", False)
    assert workflow.queue.take_ids() == [healthy]
    assert workflow.published("VideosQuarantined") == [1]


def test_silence_does_not_count_while_redis_is_away(workflow, academy):
    expired, silent = academy.add(until=-5), academy.add()
    workflow.run()
    academy.strike(silent, ago_s=61)
    expired_meanwhile = academy.add(until=-5)
    for function in ("ListStaleVideos", "Reclaim"):
        workflow.environment[function]["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert execution["record"]["heartbeatsTrusted"] is False
    assert execution["record"]["spared"] == {"heartbeatUnknown": 1}
    assert workflow.published("HeartbeatsTrusted")[-1] == 0
    assert academy.state(silent)[0] == "PROCESSING"
    assert workflow.queue.take_ids() == [expired, expired_meanwhile]


class TestRelease:
    @pytest.fixture
    def quarantined(self, academy):
        video = academy.add("FAILED")
        reason = "Processing was interrupted too often: 6 times within 7 days."
        academy.sql("UPDATE video_video SET error_reason = %s WHERE id = %s", (reason, video))
        return video

    def test_a_quarantined_video_goes_back_to_work(self, workflow, academy, quarantined):
        execution = workflow.run({"release": [quarantined]})

        assert execution["record"]["stale"] == {"released": 1}
        assert workflow.queue.take_ids() == [quarantined]
        assert academy.state(quarantined) == ("UPLOADED", "", False)
        assert academy.sql("SELECT error_reason FROM video_video") == [(None,)]

    def test_a_video_that_failed_for_another_reason_stays_as_it_is(self, workflow, academy):
        failed = academy.add("FAILED")
        before = academy.rows()

        execution = workflow.run({"release": [failed, 4242]})

        assert execution["record"]["spared"] == {"movedOn": 1}
        assert academy.rows() == before and workflow.queue.take_ids() == []

    def test_a_dry_run_tells_what_would_be_released(self, workflow, academy, quarantined):
        before = academy.rows()

        record = workflow.run({"release": [quarantined], "dryRun": True})["record"]

        assert record["videos"] == [{"id": quarantined, "reason": "released"}]
        assert academy.rows() == before


class TestLostMessages:
    @pytest.fixture
    def waiting(self, workflow, academy):
        """A video that has waited for twenty minutes, of whose message nothing is known."""
        video = academy.add("UPLOADED")
        workflow.run()
        self.age(academy, str(video), 1200)
        return video

    @staticmethod
    def age(academy, field, by_s):
        since, _, rest = academy.redis.hget("video-reclaim:waiting", field).decode().partition(" ")
        academy.redis.hset("video-reclaim:waiting", field, f"{float(since) - by_s} {rest}".strip())

    def test_a_message_is_sent_again_after_the_queue_was_empty_twice(self, workflow, academy, waiting):
        assert workflow.run()["record"]["messagesLost"] == 0, "one look is not enough"
        self.age(academy, "queue-empty", 61)

        record = workflow.run()["record"]

        assert (record["messagesLost"], record["resent"]) == (1, 1)
        assert record["stale"] == {"messageLost": 1}
        assert workflow.queue.take_ids() == [waiting]
        assert workflow.published("MessagesLost")[-1] == workflow.published("VideosResent")[-1] == 1
        assert workflow.run()["record"]["messagesLost"] == 0, "it is sent once, and waits anew"

    def test_while_messages_of_unknown_age_are_in_the_queue_nothing_is_lost(self, workflow, academy, waiting):
        workflow.run()
        self.age(academy, "queue-empty", 61)
        workflow.sqs.send_message(QueueUrl=workflow.queue.url, MessageBody="{}")

        assert workflow.run()["record"]["messagesLost"] == 0
        assert not academy.redis.hexists("video-reclaim:waiting", "queue-empty"), (
            "the next look is a first one"
        )

    def test_a_queue_that_cannot_be_read_is_no_reason(self, workflow, academy, waiting):
        workflow.run()
        self.age(academy, "queue-empty", 61)
        workflow.sqs.delete_queue(QueueUrl=workflow.queue.url)

        assert workflow.run()["record"]["messagesLost"] == 0

    def test_they_are_only_reported_where_the_stage_says_so(self, workflow, academy, waiting):
        workflow.environment["ListStaleVideos"]["RECLAIMING_LOST_MESSAGES"] = "report"
        workflow.run()
        self.age(academy, "queue-empty", 61)

        record = workflow.run()["record"]

        assert (record["messagesLost"], record["resent"], record["stale"]) == (1, 0, {})
        assert workflow.queue.take_ids() == []

    def test_the_longest_wait_is_published(self, workflow, academy, waiting):
        assert 1200 <= workflow.run()["record"]["longestWaitS"] < 1260
        assert 1200 <= workflow.published("OldestBacklogAge")[-1] < 1260
