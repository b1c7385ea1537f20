"""What fails: all else is done, the fleet looked after, and the execution ends where a redrive resumes."""

import json

import pytest

from dev.local.processes import free_port
from tests.workflow.conftest import DEFINITION, Failure, timed_out
from video_reclaim.rules.handoff import token_for

pytestmark = pytest.mark.filterwarnings("ignore:Exception.* does not match an error shape:UserWarning")


def message(execution):
    return json.loads(execution["cause"])["errorMessage"]


def first_record(workflow):
    """The record as the first PublishBacklog returned it."""
    return next(call.answer["run"] for call in workflow.calls if call.function == "PublishBacklog")


def only(videos, otherwise):
    """Do ``otherwise`` to the calls that are about one of ``videos``, and let the others through."""

    def choose(payload, call):
        return otherwise(payload, call) if set(videos) & set(payload["videos"]) else call(payload)

    return choose


def after(fault):
    """Let the function do its work, and lose its answer."""

    def fail(payload, call):
        call(payload)
        return fault(payload, call)

    return fail


def mend_before_the_second_pass(workflow, mend):
    """Publishing is what lies between the two passes."""
    workflow.around["PublishBacklog"] = lambda payload, call: (mend(), call(payload))[1]


def check_failed_videos_surface(workflow, academy, execution, *, failing, error, done, in_state):
    """All that must hold once some videos of an execution could not be put back."""
    assert (execution["status"], execution.get("error")) == ("FAILED", error)
    assert workflow.unfinished(execution) == {"RetryFailedVideos", in_state}
    succeeded = [event for event in workflow.history(execution) if event["type"] == "MapIterationSucceeded"]
    assert {event["mapIterationSucceededEventDetails"]["name"] for event in succeeded} == {"ReclaimVideos"}

    assert workflow.failed(execution) == [[video] for video in failing]
    second_time = [payload for payload in workflow.asked("Reclaim") if payload["failOnPartial"]]
    assert {(*payload["videos"], payload["unsent"]) for payload in second_time} == {(failing[0], False)}

    assert workflow.queue.take_ids() == sorted(done)
    assert all(academy.state(video) == ("UPLOADED", "", False) for video in done)
    assert first_record(workflow)["failed"] == {error: len(failing)}
    assert workflow.published("VideosFailed") == [len(failing)]
    assert workflow.published("VideosEnqueued") == ([len(done)] if done else [])
    assert workflow.published("BacklogCount") == [len(done) + len(failing)]
    assert workflow.desired() == len(done) + len(failing)


def check_cause(execution, video, reason):
    """The cause names the video of the item that failed first, and why."""
    assert message(execution).startswith(f"1 video failed: {video} (") and reason in message(execution)


@pytest.fixture
def concurrency():
    return 1


@pytest.fixture
def stale(academy):
    return [academy.add(until=-5) for _ in range(5)]


def test_one_video_of_many_that_sqs_refuses(workflow, academy, stale):
    workflow.aws.refused[str(stale[2])] = "InternalError"

    execution = workflow.run()

    check_failed_videos_surface(
        workflow,
        academy,
        execution,
        failing=[stale[2]],
        error="EnqueueIncomplete",
        done=[video for video in stale if video != stale[2]],
        in_state="EnqueueAgain",
    )
    check_cause(execution, stale[2], "InternalError")
    token = token_for(execution["executionArn"])
    assert academy.state(stale[2])[:2] == ("UPLOADED", f"reclaim:{token}")


def test_a_queue_that_is_gone(workflow, academy, stale):
    workflow.sqs.delete_queue(QueueUrl=workflow.queue.url)

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "QueueRefused")
    assert workflow.unfinished(execution) == {"RetryFailedVideos", "EnqueueAgain"}
    assert workflow.failed(execution) == [[video] for video in stale]
    assert workflow.asked("Reclaim")[-1]["unsent"], "SQS refused the whole call"
    check_cause(execution, stale[0], "NonExistentQueue")
    assert workflow.published("VideosFailed") == [5] and workflow.published("VideosReclaimed") == []
    assert workflow.published("BacklogCount") == [5] and workflow.desired() == 5
    assert all(academy.state(video)[1].startswith("reclaim:") for video in stale)


def test_one_video_that_postgresql_refuses_is_counted_and_never_stops_its_neighbours(workflow, academy):
    stale = [academy.add(until=-5) for _ in range(42)]
    academy.sql(
        f"ALTER TABLE video_video ADD CONSTRAINT odd CHECK (id <> {stale[20]} OR status <> 'UPLOADED')"
    )
    try:
        execution = workflow.run()
    finally:
        academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd")

    assert execution["status"] == "SUCCEEDED"
    assert execution["record"]["refused"] == 1
    assert workflow.queue.take_ids() == [video for video in stale if video != stale[20]]
    assert workflow.published("VideosRefused") == [1] and workflow.desired() == 20


def test_a_statement_that_postgresql_refuses_fails_the_execution(workflow, academy, stale):
    academy.sql("ALTER TABLE core_tenant RENAME COLUMN code TO hidden")  # only messages need it
    try:
        execution = workflow.run()
    finally:
        academy.sql("ALTER TABLE core_tenant RENAME COLUMN hidden TO code")

    assert (execution["status"], execution["error"]) == ("FAILED", "StoreRefused")
    assert workflow.unfinished(execution) == {"RetryFailedVideos", "EnqueueAgain"}
    assert "t.code" in message(execution)


def test_postgresql_away_during_the_reclaim_of_some(workflow, academy, stale):
    def away(payload, call):
        port = workflow.environment["Reclaim"]["DATABASE_PORT"]
        workflow.environment["Reclaim"]["DATABASE_PORT"] = str(free_port())
        workflow.enter("Reclaim")
        try:
            return call(payload)
        finally:
            workflow.environment["Reclaim"]["DATABASE_PORT"] = port

    workflow.around["Reclaim"] = only([stale[0], stale[3]], away)

    execution = workflow.run()

    check_failed_videos_surface(
        workflow,
        academy,
        execution,
        failing=[stale[0], stale[3]],
        error="StoreUnavailable",
        done=[stale[1], stale[2], stale[4]],
        in_state="ReclaimAgain",
    )
    check_cause(execution, stale[0], "Connection refused")
    assert len(workflow.asked("Reclaim")) == 3 + 2 * 3 + 3, "PostgreSQL away is retried twice"
    assert academy.state(stale[0])[:2] == ("PROCESSING", "worker-1")


@pytest.mark.parametrize(
    ("function", "fault", "in_state"),
    [
        pytest.param("Reclaim", after(timed_out), "ReclaimAgain", id="reclaim-after-its-work"),
        pytest.param("Enqueue", timed_out, "EnqueueAgain", id="enqueue-before-its-work"),
    ],
)
def test_a_function_that_times_out(workflow, academy, stale, function, fault, in_state):
    workflow.around[function] = only([stale[1]], fault)

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "Sandbox.Timedout")
    assert workflow.unfinished(execution) == {"RetryFailedVideos", in_state}
    assert workflow.queue.take_ids() == [video for video in stale if video != stale[1]]
    assert workflow.published("VideosFailed") == [1] and workflow.desired() == 5


def test_a_function_that_times_out_after_its_work_sends_nothing_twice(workflow, academy, stale):
    """The retry finds nothing that is still its own."""
    answers_lost = []

    def lose_the_first_answer(payload, call):
        answer = call(payload)
        if payload["videos"] == [stale[1]] and not answers_lost:
            answers_lost.append(answer)
            return timed_out(payload, call)
        return answer

    workflow.around["Enqueue"] = lose_the_first_answer

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED" and answers_lost
    assert workflow.queue.take_ids() == stale
    assert execution["record"]["skipped"] == {"movedOn": 1}


def test_what_a_retry_sends_may_have_been_sent_before_and_is_counted_so(workflow, academy, stale):
    def time_out_once(payload, call):
        return call(payload) if payload["retries"] else timed_out(payload, call)

    workflow.around["Enqueue"] = only([stale[1]], time_out_once)

    record = workflow.run()["record"]

    assert (record["enqueued"], record["duplicates"]) == (5, {"retried": 1})


def test_metrics_that_cloudwatch_refuses_fail_nothing_and_are_in_the_record(workflow, academy, stale):
    workflow.aws.cloudwatch_fault = "InvalidParameterValue"

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert "InvalidParameterValue" in execution["record"]["metricsError"]
    assert workflow.queue.take_ids() == stale
    assert workflow.desired() == 5, "the fleet grows all the same"


def test_publishing_that_crashes_fails_where_a_redrive_resumes(workflow, academy, stale):
    workflow.around["PublishBacklog"] = timed_out

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "Sandbox.Timedout")
    assert workflow.unfinished(execution) == {"PublishBacklog"}
    assert workflow.queue.take_ids() == stale


def test_videos_of_a_batch_that_recover_at_the_second_try_are_counted_once_and_published(workflow, academy):
    stale = [academy.add(until=-5) for _ in range(42)]
    workflow.aws.refused[str(stale[0])] = "InternalError"
    mend_before_the_second_pass(workflow, workflow.aws.refused.clear)

    record = workflow.run()["record"]

    assert (record["reclaimed"], record["enqueued"], record["recovered"]) == (42, 42, 1)
    assert record["failed"] == {}
    assert workflow.queue.take_ids() == stale
    assert workflow.published("VideosReclaimed") == workflow.published("VideosEnqueued") == [41, 1]
    assert workflow.published("VideosFailed") == [1]


def test_what_a_batch_did_before_its_queue_failed_is_counted(workflow, academy):
    """One is given up, one has moved on, one is refused; and then SQS denies the rest."""
    poison, moved, cursed, *rest = stale = [academy.add(until=-5) for _ in range(200)]
    now = academy.redis.time()[0]
    claims = {f"{academy.upload(poison)} claim-{n}": now - n for n in range(5)}
    academy.redis.zadd(f"tenant:1:video:{poison}:reclaims", claims)
    academy.sql(f"ALTER TABLE video_video ADD CONSTRAINT odd CHECK (id <> {cursed} OR status <> 'UPLOADED')")

    def ready(payload, call):
        academy.sql(f"UPDATE video_video SET status = 'READY' WHERE id = {moved}")
        return call(payload)

    workflow.around["Reclaim"] = only([moved], ready)
    workflow.aws.queue_fault = "AccessDenied"
    try:
        execution = workflow.run()
    finally:
        academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd")

    assert execution["status"] == "FAILED"
    assert workflow.failed(execution)[0] == stale[3:5], "of a batch of five"
    assert first_record(workflow)["failed"] == {"QueueRefused": len(rest)}
    assert workflow.published("VideosQuarantined") == [1] and workflow.published("VideosRefused") == [1]
    assert workflow.published("VideosFailed") == [len(rest)]
    assert workflow.published("VideosReclaimed") == []
    (published,) = workflow.asked("PublishBacklog")
    assert published["pass"]["results"][0]["did"]["skipped"] == {"movedOn": 1}


def test_the_second_pass_fails_even_if_a_part_of_its_item_recovers(workflow, academy):
    one, other, *rest = [academy.add(until=-5) for _ in range(42)]
    workflow.aws.refused.update({str(one): "InternalError", str(other): "InternalError"})
    mend_before_the_second_pass(workflow, lambda: workflow.aws.refused.pop(str(one)))

    execution = workflow.run()

    assert workflow.failed(execution) == [[one, other]]
    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete")
    check_cause(execution, other, "InternalError")
    assert workflow.queue.take_ids() == [one, *rest]


def test_postgresql_down_publishes_what_is_known_and_fails_with_the_error_of_the_listing(workflow, academy):
    workflow.sqs.send_message(QueueUrl=workflow.queue.url, MessageBody="{}")
    for environment in workflow.environment.values():
        environment["DATABASE_PORT"] = str(free_port())

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "StoreUnavailable")
    assert "Connection refused" in message(execution)
    assert workflow.route(execution)[:2] == ["ListStaleVideos", "PublishBacklog"]
    assert workflow.route(execution)[-1] == "NotListed"
    assert len(workflow.asked("ListStaleVideos")) == 3, "it is retried twice"
    assert workflow.published("QueueDepth", "Video") == [1]
    assert workflow.published("BacklogCount") == [], "unknown is not 0"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        pytest.param("StoreRefused", 1, id="not-retried"),
        pytest.param("Runtime.ExitError", 3, id="out-of-memory"),
        pytest.param("Lambda.TooManyRequestsException", 11, id="throttled"),
        pytest.param("KeyError", 1, id="a-defect"),
    ],
)
def test_the_fleet_grows_whatever_keeps_the_videos_from_being_listed(workflow, academy, error, tries):
    def fail(_payload, _call):
        raise Failure(error, "not today")

    workflow.around["ListStaleVideos"] = fail
    for _ in range(2):
        academy.add("UPLOADED")

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", error)
    assert (workflow.route(execution)[-1], len(workflow.asked("ListStaleVideos"))) == ("NotListed", tries)
    assert workflow.published("BacklogCount") == [2] and workflow.desired() == 2


def test_a_listing_that_timed_out_has_no_cause_and_an_error_that_a_state_may_fail_with(workflow):
    timed_out = {"Type": "Pass", "Assign": {"notListed": {"Error": "States.Timeout"}}, "Next": "NotListed"}

    execution = workflow.run_states(
        {"Listing": timed_out, "NotListed": DEFINITION["States"]["NotListed"]}, {}
    )

    assert (execution["status"], execution["error"]) == ("FAILED", "ListStaleVideos.Timeout")


def test_a_dry_run_without_postgresql_fails_without_publishing(workflow, academy):
    workflow.environment["ListStaleVideos"]["DATABASE_PORT"] = str(free_port())

    execution = workflow.run({"dryRun": True})

    assert (execution["status"], execution["error"]) == ("FAILED", "StoreUnavailable")
    assert workflow.aws.points == {}


def test_an_error_of_the_group_is_recorded_and_fails_nothing(workflow, academy, stale):
    workflow.aws.scaling_fault = "ScalingActivityInProgress"

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert "ScalingActivityInProgress" in execution["record"]["scalingError"]
    assert len(workflow.waits) == 2, "it is tried three times"
    assert workflow.route(execution).count("SetDesiredCapacity") == 1
    assert execution["record"]["decision"]["desired"] == 5 and workflow.desired() == 1
    assert workflow.queue.take_ids() == stale


def test_a_size_that_was_decided_before_a_redrive_is_not_applied(workflow, academy, stale):
    workflow.expressions.redrives = {"SetDesiredCapacity": 1}

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert execution["record"]["scalingError"].startswith("States.QueryEvaluationError: ")
    assert workflow.aws.desired_set == [] and workflow.queue.take_ids() == stale


def test_what_failed_is_tried_again_before_the_run_looks_again(workflow, academy, stale):
    suspect = academy.add(beats=True)
    workflow.run({"dryRun": False, "limit": 1})
    academy.pass_time(40, suspect)
    workflow.aws.refused[str(stale[1])] = "InternalError"
    mend_before_the_second_pass(workflow, workflow.aws.refused.clear)

    record = workflow.run()["record"]

    assert (record["recovered"], record["enqueued"]) == (1, 4)
    assert len(workflow.second_looks) == 1
    assert workflow.queue.take_ids() == stale


@pytest.mark.parametrize("claimed_meanwhile", [False, True], ids=["as-it-was", "quarantined-again-meanwhile"])
def test_a_release_that_failed_is_tried_again_for_the_same_quarantine(workflow, academy, claimed_meanwhile):
    video = academy.add("FAILED")
    reason = "Processing was interrupted too often: 6 times within 7 days."
    academy.sql("UPDATE video_video SET error_reason = %s WHERE id = %s", (reason, video))

    def away_during_the_first_pass(payload, call):
        if not payload["failOnPartial"]:
            raise Failure("StoreUnavailable", "not now")
        return call(payload)

    def claim():
        if claimed_meanwhile:
            academy.sql("UPDATE video_video SET processing_started_at = now() WHERE id = %s", (video,))

    workflow.around["Reclaim"] = away_during_the_first_pass
    mend_before_the_second_pass(workflow, claim)

    record = workflow.run({"release": [video]})["record"]

    assert record["enqueued"] == (0 if claimed_meanwhile else 1)
    assert workflow.queue.take_ids() == ([] if claimed_meanwhile else [video])
    assert academy.state(video)[0] == ("FAILED" if claimed_meanwhile else "UPLOADED")
