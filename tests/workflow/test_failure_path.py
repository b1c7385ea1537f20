"""What fails: all else is done, the fleet looked after, and the execution ends where a redrive resumes."""

import json

import pytest

from dev.local.processes import free_port
from tests.workflow.breakages import BREAKAGES, broken
from tests.workflow.conftest import Failure, timed_out
from video_reclaim.adapters.postgres import statements
from video_reclaim.rules.handoff import token_for

pytestmark = pytest.mark.filterwarnings("ignore:Exception.* does not match an error shape:UserWarning")


def message(execution):
    return json.loads(execution["cause"])["errorMessage"]


def first_record(workflow):
    """The record as the first PublishBacklog returned it."""
    return next(call.answer["run"] for call in workflow.calls if call.function == "PublishBacklog")


def only(videos, otherwise):
    """Do ``otherwise`` to the calls that are about one of ``videos``, and let the others through."""
    return lambda payload, call: (otherwise if set(videos) & set(payload["videos"]) else through)(
        payload, call
    )


def through(payload, call):
    return call(payload)


def after(fault):
    """Let the function do its work, and lose its answer."""

    def fail(payload, call):
        call(payload)
        return fault(payload, call)

    return fail


def check_failed_videos_surface(workflow, academy, execution, *, failing, error, done, in_state):
    """All that must hold once some videos of an execution could not be put back."""
    assert (execution["status"], execution.get("error")) == ("FAILED", error)
    assert workflow.unfinished(execution) == {"RetryFailedVideos", in_state}
    succeeded = [event for event in workflow.history(execution) if event["type"] == "MapIterationSucceeded"]
    assert {event["mapIterationSucceededEventDetails"]["name"] for event in succeeded} == {"ReclaimVideos"}

    assert workflow.failed(execution) == [[video] for video in failing]
    second_time = [payload["videos"] for payload in workflow.asked("Reclaim") if payload["failOnPartial"]]
    assert set(map(tuple, second_time)) == {(failing[0],)}

    assert workflow.queue.take_ids() == sorted(done)
    assert all(academy.state(video) == ("UPLOADED", "", False) for video in done)
    assert first_record(workflow)["failed"] == {error: len(failing)}
    assert workflow.published("VideosFailed") == [len(failing)]
    assert workflow.published("VideosEnqueued") == [len(done)]
    assert workflow.published("BacklogCount") == [len(done) + len(failing)]
    # One worker was there, and a row that is still PROCESSING starts none.
    waiting = sum(academy.state(video)[0] == "UPLOADED" for video in [*done, *failing])
    assert workflow.desired() == min(len(done) + len(failing), 1 + waiting)


def check_cause(execution, video, reason):
    """The cause names the video of the item that failed first, and why."""
    assert message(execution).startswith(f"1 video failed: {video} (") and reason in message(execution)


@pytest.fixture
def concurrency():
    return 1


@pytest.fixture
def stale(academy):
    return [academy.add(until=-5) for _ in range(5)]


def run_with_a_refused_video(workflow, academy, stale):
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


def test_one_video_of_many_that_sqs_refuses(workflow, academy, stale):
    run_with_a_refused_video(workflow, academy, stale)

    execution = workflow.asked("Reclaim")[0]["execution"]
    assert academy.state(stale[2])[:2] == ("UPLOADED", f"reclaim:{token_for(execution)}")


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(broken(BREAKAGES[name]), id=name)
        for name in (
            "second-map-gets-a-catch",
            "second-map-is-caught-as-a-whole",
            "first-map-loses-its-own",
            "enqueue-gets-another-execution",
        )
    ],
)
def test_the_check_above_sees_a_broken_definition(workflow, academy, stale):
    with pytest.raises(AssertionError):
        run_with_a_refused_video(workflow, academy, stale)


def delete_queue(workflow):
    workflow.sqs.delete_queue(QueueUrl=workflow.queue.url)


def deny(workflow):
    workflow.aws.queue_fault = "AccessDenied"


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        pytest.param(delete_queue, "NonExistentQueue", id="the-queue-is-gone"),
        pytest.param(deny, "AccessDenied", id="the-queue-denies"),
    ],
)
def test_a_queue_that_takes_nothing(workflow, academy, stale, break_it, reason):
    break_it(workflow)

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "QueueUnavailable")
    assert workflow.unfinished(execution) == {"RetryFailedVideos", "EnqueueAgain"}
    assert workflow.failed(execution) == [[video] for video in stale]
    check_cause(execution, stale[0], reason)
    assert workflow.published("VideosFailed") == [5] and workflow.published("VideosReclaimed") == []
    assert workflow.published("BacklogCount") == [5] and workflow.desired() == 5
    assert all(academy.state(video)[1].startswith("reclaim:") for video in stale)


def test_one_video_that_postgresql_refuses_is_counted_and_never_stops_its_neighbours(workflow, academy):
    stale = [academy.add(until=-5) for _ in range(42)]
    academy.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the row is cursed'; END $$;"
        " CREATE TRIGGER refuse BEFORE UPDATE ON video_video FOR EACH ROW"
        f" WHEN (old.id = {stale[20]}) EXECUTE FUNCTION refuse()"
    )
    try:
        execution = workflow.run()
    finally:
        academy.sql("DROP FUNCTION refuse CASCADE")

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
        workflow.environment["Reclaim"]["DATABASE_PORT"] = str(free_port())
        workflow.enter("Reclaim")
        try:
            return call(payload)
        finally:
            workflow.environment["Reclaim"]["DATABASE_PORT"] = workflow.environment["Enqueue"][
                "DATABASE_PORT"
            ]

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
        pytest.param("Reclaim", timed_out, "ReclaimAgain", id="reclaim-before-its-work"),
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


def check_no_second_message(workflow, academy, stale):
    """A timeout after everything was done: the retry finds nothing that is still its own."""
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


def test_a_function_that_times_out_after_its_work_sends_nothing_twice(workflow, academy, stale):
    check_no_second_message(workflow, academy, stale)


def test_the_check_above_sees_an_enqueue_that_ignores_its_token(workflow, academy, stale, monkeypatch):
    select = "WHERE v.id = ANY(%(ids)s) AND"
    _, _, rest = statements.READ_HANDOFFS.rpartition(select)
    assert rest.count("%(holder)s") == 1
    heedless = statements.READ_HANDOFFS.removesuffix(rest) + " v.status = 'UPLOADED' ORDER BY v.id"
    monkeypatch.setattr(statements, "READ_HANDOFFS", heedless)

    with pytest.raises(AssertionError):
        check_no_second_message(workflow, academy, stale)


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


def test_videos_that_recover_at_the_second_try_are_counted_so_and_published(workflow, academy, stale):
    workflow.aws.refused[str(stale[0])] = "InternalError"
    workflow.around["PublishBacklog"] = lambda payload, call: (workflow.aws.refused.clear(), call(payload))[1]

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert (execution["record"]["recovered"], execution["record"]["failed"]) == (1, {})
    assert execution["record"]["enqueued"] == 5
    assert workflow.queue.take_ids() == stale
    assert workflow.published("VideosFailed") == [1] and workflow.published("VideosEnqueued") == [4, 1]


def test_videos_of_a_batch_that_recover_are_counted_once(workflow, academy):
    stale = [academy.add(until=-5) for _ in range(42)]
    workflow.aws.refused[str(stale[0])] = "InternalError"
    workflow.around["PublishBacklog"] = lambda payload, call: (workflow.aws.refused.clear(), call(payload))[1]

    record = workflow.run()["record"]

    assert (record["reclaimed"], record["enqueued"], record["recovered"]) == (42, 42, 1)
    assert workflow.published("VideosReclaimed") == [41, 1]


def test_what_a_batch_did_before_its_queue_failed_is_counted(workflow, academy):
    """One is given up, one has moved on, one is refused; and then SQS denies the rest."""
    poison, moved, cursed, *rest = stale = [academy.add(until=-5) for _ in range(200)]
    batch = stale[:5]
    now = academy.redis.time()[0]
    academy.redis.zadd(
        f"tenant:1:video:{poison}:reclaims", {f"{academy.upload(poison)} run-{n}": now - n for n in range(5)}
    )
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
    assert workflow.failed(execution)[0] == batch[3:]
    assert first_record(workflow)["failed"] == {"QueueUnavailable": len(rest)}
    assert workflow.published("VideosQuarantined") == [1] and workflow.published("VideosRefused") == [1]
    assert workflow.published("VideosFailed") == [len(rest)]
    assert workflow.published("VideosReclaimed") == []
    (published,) = workflow.asked("PublishBacklog")
    assert published["pass"]["results"][0]["did"]["skipped"] == {"movedOn": 1}


def test_the_second_pass_fails_even_if_a_part_of_its_item_recovers(workflow, academy):
    one, other, *rest = [academy.add(until=-5) for _ in range(42)]
    workflow.aws.refused.update({str(one): "InternalError", str(other): "InternalError"})
    workflow.around["PublishBacklog"] = lambda payload, call: (
        workflow.aws.refused.pop(str(one)),
        call(payload),
    )[1]

    execution = workflow.run()

    assert workflow.failed(execution) == [[one, other]]
    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete")
    check_cause(execution, other, "InternalError")
    assert workflow.queue.take_ids() == [one, *rest]


def check_listing_fails_last(workflow, academy):
    workflow.sqs.send_message(QueueUrl=workflow.queue.url, MessageBody="{}")
    for environment in workflow.environment.values():
        environment["DATABASE_PORT"] = str(free_port())
    execution = workflow.run()
    assert (execution["status"], execution.get("error")) == ("FAILED", "StoreUnavailable")
    # A message waits, so that the one worker must be busy: the fleet grows.
    grown = ["PublishBacklog", "WhatIsLeft", "SetDesiredCapacity", "WhatIsLeft", "NotListed"]
    assert workflow.route(execution) == ["ListStaleVideos", *grown]
    assert "Connection refused" in message(execution)
    assert len(workflow.asked("ListStaleVideos")) == 3, "it is retried twice"
    assert workflow.published("QueueDepth", "Video") == [1]
    assert workflow.published("BacklogCount") == [], "unknown is not 0"


def test_postgresql_down_publishes_what_is_known_and_fails_with_the_error_of_the_listing(workflow, academy):
    check_listing_fails_last(workflow, academy)


@pytest.mark.parametrize(
    "definition", [broken(BREAKAGES["listing-failures-are-swallowed"])], ids=["swallowed"]
)
def test_the_check_of_listing_sees_a_broken_definition(workflow, academy):
    with pytest.raises(AssertionError):
        check_listing_fails_last(workflow, academy)


@pytest.mark.parametrize(
    "error",
    [
        *("StoreUnavailable", "StoreRefused", "Sandbox.Timedout", "Lambda.Unknown"),
        *("Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException"),
        *("Lambda.ClientExecutionTimeoutException", "Lambda.TooManyRequestsException"),
    ],
)
def test_the_fleet_grows_whatever_keeps_the_videos_from_being_listed(workflow, academy, error):
    """All that is caught but States.Timeout: this interpreter lets no function end with a name of the service."""

    def fail(_payload, _call):
        raise Failure(error, "not today")

    workflow.around["ListStaleVideos"] = fail
    for _ in range(2):
        academy.add("UPLOADED")

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", error)
    assert workflow.route(execution)[-1] == "NotListed"
    assert workflow.published("BacklogCount") == [2] and workflow.desired() == 2


def test_what_is_retried_in_the_listing_is_caught_in_the_end(definition):
    """States.Timeout among it, which this interpreter can't raise."""
    listing = definition["States"]["ListStaleVideos"]
    (caught,) = listing["Catch"]
    of_enqueue = {"QueueUnavailable", "EnqueueIncomplete"}
    assert {name for one in listing["Retry"] for name in one["ErrorEquals"]} - of_enqueue <= set(
        caught["ErrorEquals"]
    )


def test_a_dry_run_without_postgresql_fails_without_publishing(workflow, academy):
    workflow.environment["ListStaleVideos"]["DATABASE_PORT"] = str(free_port())

    execution = workflow.run({"dryRun": True})

    assert (execution["status"], execution["error"]) == ("FAILED", "StoreUnavailable")
    assert workflow.aws.points == {}


@pytest.mark.parametrize("fault", ["ScalingActivityInProgress", "ResourceContention"])
def test_an_error_of_the_group_is_recorded_and_fails_nothing(workflow, academy, stale, fault):
    workflow.aws.scaling_fault = fault

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED"
    assert fault in execution["record"]["scalingError"]
    first, second = workflow.waits  # it is tried three times
    assert 0 <= first <= 1 and 0 <= second <= 2
    assert workflow.route(execution).count("SetDesiredCapacity") == 1
    assert execution["record"]["decision"]["desired"] == 5 and workflow.desired() == 1
    assert workflow.queue.take_ids() == stale


@pytest.mark.parametrize(
    "definition", [broken(BREAKAGES["group-errors-fail-the-execution"])], ids=["uncaught"]
)
def test_an_uncaught_error_of_the_group_would_fail_the_execution(workflow, academy, stale):
    workflow.aws.scaling_fault = "ScalingActivityInProgress"

    assert workflow.run()["status"] == "FAILED"


def test_a_size_beyond_the_group_s_limits_is_refused_and_that_is_recorded(workflow, academy, stale):
    def as_if_the_maximum_had_been_lowered_meanwhile(payload, call):
        answer = call(payload)
        return answer | {"setDesiredCapacity": {"needed": True, "to": 21}}

    workflow.around["PublishBacklog"] = as_if_the_maximum_had_been_lowered_meanwhile

    execution = workflow.run()

    assert execution["status"] == "SUCCEEDED" and "scalingError" in execution["record"]
    assert workflow.desired() == 1


def test_each_failing_step_is_retried_twice_within_its_waits(workflow, academy, stale):
    delete_queue(workflow)

    workflow.run({"limit": 1})

    first, second, third, fourth = workflow.waits  # two retries of Enqueue, two of EnqueueAgain
    assert 0 <= first <= 2 and 0 <= second <= 4 and 0 <= third <= 2 and 0 <= fourth <= 4


def test_what_failed_is_tried_again_before_the_run_looks_again(workflow, academy, stale):
    academy.add()  # its heartbeat is missing for the first time
    workflow.aws.refused[str(stale[0])] = "InternalError"
    workflow.around["PublishBacklog"] = lambda payload, call: (workflow.aws.refused.clear(), call(payload))[1]

    record = workflow.run()["record"]

    assert (record["recovered"], record["enqueued"]) == (1, 5)
    assert len(workflow.second_looks) == 1
    assert workflow.queue.take_ids() == stale


def test_a_release_that_failed_is_tried_again(workflow, academy):
    video = academy.add("FAILED")
    reason = "Processing was interrupted too often: 6 times within 7 days."
    academy.sql("UPDATE video_video SET error_reason = %s WHERE id = %s", (reason, video))

    def away_during_the_first_pass(payload, call):
        if not payload["failOnPartial"]:
            raise Failure("StoreUnavailable", "not now")
        return call(payload)

    workflow.around["Reclaim"] = away_during_the_first_pass

    record = workflow.run({"release": [video]})["record"]

    assert (record["recovered"], record["enqueued"]) == (1, 1)
    assert workflow.queue.take_ids() == [video]
