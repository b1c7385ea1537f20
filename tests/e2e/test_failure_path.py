"""Failed items on the whole stack: they surface, the fleet never waits for them, and a redrive ends them."""

import json
import socket

import pytest

from dev.testing.emulator_bench import Bench

pytestmark = pytest.mark.xdist_group("deployed")


@pytest.fixture
def stale(deployed):
    return [deployed.academy.add(until=-5) for _ in range(4)]


def message(execution):
    return json.loads(execution["cause"])["errorMessage"]


def lines_about(deployed, step):
    """The videos that a function reclaimed, or tried to send, from its log."""
    outcomes = {"Reclaim": {"reclaimed"}, "Enqueue": {"enqueued", "not enqueued"}}[step]
    return [line["video"] for line in deployed.log_lines(step) if line["message"] in outcomes]


class Watch:
    """What metrics and calls have come to since it was made."""

    def __init__(self, deployed):
        self._deployed = deployed
        self._metrics = {name: deployed.published(name) for name in ("VideosFailed", "VideosEnqueued")}
        self._backlogs = deployed.published("BacklogCount", "SampleCount")
        self._calls = {step: len(lines_about(deployed, step)) for step in ("Reclaim", "Enqueue")}

    def failed(self):
        return self._deployed.published("VideosFailed") - self._metrics["VideosFailed"]

    def enqueued(self):
        return self._deployed.published("VideosEnqueued") - self._metrics["VideosEnqueued"]

    def backlog_was_published(self):
        return self._deployed.published("BacklogCount", "SampleCount") > self._backlogs

    def worked_on(self, *expected):
        """The videos that were reclaimed, and those tried to be sent; logs may be a moment behind."""

        def seen():
            lines = (lines_about(self._deployed, step)[n:] for step, n in self._calls.items())
            return tuple(sorted(set(videos)) for videos in lines)

        Bench.until(lambda: all(set(one) >= set(other) for one, other in zip(seen(), expected, strict=True)))
        return seen()


def check_failed(deployed, execution, *, error, failing, reason, done, watch):
    """What must hold after the failure: all else done, the fleet looked after, the cause in words."""
    assert (execution["status"], execution.get("error")) == ("FAILED", error), execution
    assert deployed.unfinished(execution) == ["RetryFailedVideos"]
    assert any(message(execution).startswith(f"1 video failed: {video} (") for video in failing)
    assert reason in message(execution)
    # One worker was there, and a row that is still PROCESSING starts none.
    waiting = sum(deployed.academy.state(video)[0] == "UPLOADED" for video in [*done, *failing])
    assert deployed.desired() == min(len(done) + len(failing), 1 + waiting), "the decision was applied"
    assert watch.backlog_was_published()
    assert (watch.failed(), watch.enqueued()) == (len(failing), len(done))
    if done:
        assert deployed.queue.take_ids() == done
        assert all(deployed.academy.state(video) == ("UPLOADED", "", False) for video in done)


def check_redriven(deployed, execution, *, failing, reclaimed_before=True):
    """What must hold once mended and redriven: a message for each that had failed, and nothing else done."""
    watch = Watch(deployed)

    redriven = deployed.redrive(execution)

    assert (redriven["status"], redriven["redriveCount"]) == ("SUCCEEDED", 1), redriven
    assert redriven["executionArn"] == execution["executionArn"]
    assert deployed.queue.take_ids() == failing
    assert all(deployed.academy.state(video) == ("UPLOADED", "", False) for video in failing)
    reclaimed = [] if reclaimed_before else failing
    worked_on = watch.worked_on(reclaimed, failing)
    assert worked_on == (reclaimed, failing), "nothing that had succeeded ran again"
    assert (watch.failed(), watch.enqueued()) == (0, len(failing))
    assert redriven["record"]["recovered"] == len(failing) and redriven["record"]["failed"] == {}
    assert redriven["record"]["enqueued"] == redriven["record"]["reclaimed"]


def test_a_queue_that_is_gone_and_made_again(deployed, stale):
    watch = Watch(deployed)
    deployed.delete_queue()

    execution = deployed.run()

    check_failed(
        deployed,
        execution,
        error="QueueUnavailable",
        failing=stale,
        reason="does not exist",
        done=[],
        watch=watch,
    )
    deployed.make_queue()
    check_redriven(deployed, execution, failing=stale)


def test_a_queue_that_denies_and_then_allows(deployed, stale):
    watch = Watch(deployed)
    deployed.relay.fail("SendMessageBatch", code="AccessDenied", status=403)

    execution = deployed.run()

    check_failed(
        deployed,
        execution,
        error="QueueUnavailable",
        failing=stale,
        reason="AccessDenied",
        done=[],
        watch=watch,
    )
    deployed.relay.heal()
    check_redriven(deployed, execution, failing=stale)


def test_one_video_of_many_that_can_t_be_sent(deployed, stale):
    watch = Watch(deployed)
    deployed.relay.refuse({stale[2]})

    execution = deployed.run()

    check_failed(
        deployed,
        execution,
        error="EnqueueIncomplete",
        failing=[stale[2]],
        reason="InternalError",
        done=[video for video in stale if video != stale[2]],
        watch=watch,
    )
    deployed.relay.heal()
    check_redriven(deployed, execution, failing=[stale[2]])


def test_every_tenth_of_many_in_batches(deployed):
    stale = [deployed.academy.add(until=-5) for _ in range(80)]
    failing = stale[::10]
    deployed.relay.refuse(set(failing))

    execution = deployed.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete"), execution
    assert deployed.queue.take_ids() == [video for video in stale if video not in failing]
    deployed.relay.heal()
    check_redriven(deployed, execution, failing=failing)


@pytest.fixture
def nowhere():
    """A port that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield str(unused.getsockname()[1])


def test_postgresql_away_during_the_reclaim(deployed, stale, nowhere):
    watch = Watch(deployed)
    deployed.configure("Reclaim", DATABASE_PORT=nowhere)

    execution = deployed.run()

    check_failed(
        deployed,
        execution,
        error="StoreUnavailable",
        failing=stale,
        reason="Connection refused",
        done=[],
        watch=watch,
    )
    deployed.configure("Reclaim")
    check_redriven(deployed, execution, failing=stale, reclaimed_before=False)


def test_a_function_that_times_out(deployed, stale):
    machine = deployed.machine_without_retries_of("Sandbox.Timedout")  # each costs the timeout once more
    *done, slow = stale
    watch = Watch(deployed)
    deployed.configure("Enqueue", timeout_s=5)
    deployed.relay.stall("SendMessageBatch", about=f'"Id": "{slow}"', seconds=6)

    execution = deployed.run(machine=machine)

    assert (execution["status"], execution["error"]) == ("FAILED", "Sandbox.Timedout"), execution
    assert deployed.unfinished(execution) == ["RetryFailedVideos"]
    assert deployed.queue.take_ids() == done
    assert (watch.failed(), watch.enqueued()) == (1, 3) and deployed.desired() == 4
    deployed.relay.heal()
    deployed.configure("Enqueue")
    check_redriven(deployed, execution, failing=[slow])


def test_metrics_that_cloudwatch_refuses_fail_nothing_and_failed_videos_surface_all_the_same(deployed, stale):
    watch = Watch(deployed)
    deployed.relay.fail("PutMetricData", code="InvalidParameterValue")
    first = deployed.run({"limit": 3})
    assert first["status"] == "SUCCEEDED"
    assert "InvalidParameterValue" in first["record"]["metricsError"]
    assert len(deployed.queue.take_ids()) == 3 and not watch.backlog_was_published()
    assert deployed.desired() == 4, "the fleet grows without CloudWatch"
    deployed.delete_queue()

    second = deployed.run()

    assert (second["status"], second["error"]) == ("FAILED", "QueueUnavailable")
    assert deployed.unfinished(second) == ["RetryFailedVideos"]
    deployed.make_queue()
    deployed.relay.heal()
    redriven = deployed.redrive(second)
    assert redriven["status"] == "SUCCEEDED" and len(deployed.queue.take_ids()) == 1
    assert watch.enqueued() == 1


def test_a_second_look_puts_back_what_was_silent_and_a_redrive_after_it_runs_only_what_failed(deployed):
    academy = deployed.academy
    deployed.configure("ListStaleVideos", RECLAIMING_CONFIRM_SILENCE_SECONDS="1")
    deployed.configure("Reclaim", RECLAIMING_CONFIRM_SILENCE_SECONDS="1")
    expired, silent = academy.add(until=-5), academy.add()
    machine = deployed.machine_that_waits(200)  # two seconds in this stack
    deployed.relay.fail("SendMessageBatch", code="AccessDenied", status=403, about=f'"Id": "{silent}"')

    execution = deployed.run(machine=machine)

    assert (execution["status"], execution["error"]) == ("FAILED", "QueueUnavailable"), execution
    assert deployed.queue.take_ids() == [expired]
    deployed.relay.heal()
    watch = Watch(deployed)
    redriven = deployed.redrive(execution)
    assert redriven["status"] == "SUCCEEDED", redriven
    assert redriven["record"]["stale"] == {"leaseExpired": 1, "silentTwice": 1}
    assert redriven["record"]["enqueued"] == 2
    assert deployed.queue.take_ids() == [silent]
    assert watch.worked_on([], [silent]) == ([], [silent])


def test_postgresql_down_fails_with_the_error_of_the_listing_and_the_next_run_lists(deployed, stale):
    deployed.running.postgres.stop()
    try:
        execution = deployed.run()
    finally:
        deployed.academy.close()
        deployed.running.postgres.start()
        deployed.connect()

    assert (execution["status"], execution["error"]) == ("FAILED", "StoreUnavailable")
    assert deployed.unfinished(execution) == ["NotListed"]
    assert "PostgreSQL" in message(execution)
    assert deployed.redrive(execution)["status"] == "FAILED", "a Fail state fails again"
    assert deployed.run()["record"]["enqueued"] == 4
    assert deployed.queue.take_ids() == stale


def test_a_late_redrive_finds_that_every_video_has_moved_on_and_writes_nothing(deployed):
    academy = deployed.academy
    claimed, finished, failed, deleted, adopted, retried = (academy.add(until=-5) for _ in range(6))
    deployed.delete_queue()
    execution = deployed.run()
    assert (execution["status"], execution["error"]) == ("FAILED", "QueueUnavailable")
    deployed.make_queue()
    academy.sql("UPDATE video_video SET leased_until = now() - interval '1 s' WHERE id = %s", (adopted,))
    assert deployed.run()["record"]["stale"] == {"orphaned": 1}, "a later run has picked it up"
    for video, change in (
        (claimed, "status = 'PROCESSING', leased_by = 'worker-9', leased_until = now() + interval '4 h'"),
        (finished, "status = 'READY', leased_by = '', leased_until = NULL"),
        (failed, "status = 'FAILED', leased_by = '', leased_until = NULL, error_reason = 'unreadable'"),
        (retried, "status = 'UPLOADED', leased_by = '', leased_until = NULL"),
    ):
        academy.sql(f"UPDATE video_video SET {change} WHERE id = %s", (video,))
    academy.sql("DELETE FROM video_video WHERE id = %s", (deleted,))
    before = left(deployed)

    redriven = deployed.redrive(execution)

    assert redriven["status"] == "SUCCEEDED"
    assert redriven["record"]["skipped"] == {"movedOn": 6}
    assert redriven["record"]["enqueued"] == 0
    assert left(deployed) == before


def left(deployed):
    redis = deployed.academy.redis
    keys = {key: (redis.dump(key), redis.pexpiretime(key)) for key in redis.scan_iter()}
    return deployed.academy.rows(), keys, deployed.queue.count()
