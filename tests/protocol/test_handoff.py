"""Between two stores: who carries a video, for how long, and who takes over."""

import pytest

from dev.chaos.execution import Execution
from dev.chaos.injection import RAISE


@pytest.fixture
def expired(academy):
    return [academy.add(until=-1) for _ in range(3)]


def test_a_reclaim_whose_answer_is_lost_is_found_again_by_its_retry(stage, expired):
    stage.inject_once(
        "lease for handoff", "before", lambda i: i.sandbox.environment.postgres_relay.cut_next("after")
    )
    assert stage.execute().status == "SUCCEEDED"
    assert stage.messages() == expired


def test_what_sqs_refuses_is_kept_and_sent_by_the_second_pass(stage, academy):
    expired = [academy.add(until=-1) for _ in range(60)]  # in batches of two
    stage.inject_once(
        "send", "before", lambda i: i.sandbox.environment.queue.faults.update({i.id: "refuses some"})
    )
    execution = stage.execute()
    assert execution.status == "SUCCEEDED"
    assert stage.messages() == expired
    assert sum("error" in item for item in execution.results) == 1


def test_a_listing_that_fails_is_made_up_for_by_the_next_execution(stage, expired):
    stage.environment.postgres_relay.refusing = True
    assert stage.execute("fails").status == "FAILED"
    stage.environment.postgres_relay.refusing = False
    assert stage.execute("next").status == "SUCCEEDED"
    assert stage.messages() == expired


def test_an_end_that_the_database_does_not_answer_is_tried_again(stage, academy, expired):
    stage.inject_once("clear handoffs", "before", lambda _: RAISE.format("57014"))
    assert stage.execute().status == "SUCCEEDED"
    assert {academy.state(video) for video in expired} == {("UPLOADED", "", False)}


class TestRedriveDaysLater:
    @pytest.fixture
    def failed(self, stage, expired):
        stage.queue.away = True
        execution = stage.execute("old")
        assert execution.status == "FAILED"
        stage.queue.away = False
        stage.pass_time(901)
        return execution

    def test_sends_what_is_still_its_own(self, stage, expired, failed):
        assert failed.redrive() == "SUCCEEDED"
        assert stage.messages() == expired
        assert stage.violated() == []

    def test_leaves_alone_what_others_adopted(self, stage, expired, failed):
        stage.look(2)
        assert sorted(stage.finish()) == expired
        assert failed.redrive() == "SUCCEEDED"
        assert stage.messages() == []

    def test_leaves_alone_what_others_are_carrying(self, stage, academy, expired, failed):
        academy.sql("UPDATE video_video SET leased_by = 'reclaim:b', leased_until = now() + interval '900 s'")
        assert failed.redrive() == "SUCCEEDED"
        assert stage.messages() == []
        assert {academy.state(video)[1] for video in expired} == {"reclaim:b"}

    def test_leaves_alone_what_is_worked_on_deleted_or_retried(self, stage, academy, expired, failed):
        academy.sql(
            "UPDATE video_video SET status = 'PROCESSING', leased_by = 'w' WHERE id = %s", (expired[0],)
        )
        academy.sql("DELETE FROM video_video WHERE id = %s", (expired[1],))
        academy.sql("UPDATE video_video SET leased_by = '', leased_until = NULL WHERE id = %s", (expired[2],))
        before = academy.rows()
        assert failed.redrive() == "SUCCEEDED"
        assert stage.messages() == []
        assert academy.rows() == before


def test_a_handoff_is_not_adopted_before_its_lease_ends(stage, academy, expired):
    stage.queue.away = True
    stage.execute("first")
    stage.queue.away = False
    stage.execute("second")
    assert stage.messages() == []
    assert all(academy.state(video)[1].startswith("reclaim:first") for video in expired)


def test_an_orphan_is_adopted_when_nobody_touches_it_for_a_minute(stage, academy):
    orphan = academy.add("UPLOADED", by="reclaim:crashed", until=-1)
    stage.look()
    assert stage.messages() == []
    stage.execute()
    assert stage.messages() == [orphan]
    assert academy.state(orphan) == ("UPLOADED", "", False)


def test_the_driver_follows_the_state_machine(stage):
    """States and payloads that the driver writes out are those of the definition."""
    from dev.chaos.execution import _states

    states = _states()
    payloads = {
        name: state["Arguments"]["Payload"]
        for name, state in states.items()
        if "Payload" in str(state.get("Arguments"))
    }
    for first, again in (("Reclaim", "ReclaimAgain"), ("Enqueue", "EnqueueAgain")):
        assert [catcher["ErrorEquals"] for catcher in states[first]["Catch"]] == [["States.ALL"]]
        assert "Catch" not in states[again]
    with_retries = "{% $merge([$states.input, {'retries': $states.context.State.RetryCount}]) %}"
    assert payloads["Enqueue"] == payloads["EnqueueAgain"] == with_retries
    assert payloads["Reclaim"] == {**payloads["ReclaimAgain"], "failOnPartial": False, "unsent": True}
    assert payloads["ReclaimAgain"]["failOnPartial"] is True
    payload = Execution(stage.lambdas, "x")._reclaim_payload([1], fail_on_partial=True, unsent=True)
    assert set(payload) == set(payloads["Reclaim"])
    assert states["ConfirmSilence"]["Seconds"] == "{% $confirmAfterS %}"


def test_a_message_is_sent_when_workers_do_not_drop_it_any_more(stage, academy):
    """A user has just retried the video: workers drop each message that arrives within 300 s."""
    video = academy.add(until=-1)
    academy.redis.set(f"tenant:1:video:{video}:cancel_requested", "1", ex=300)
    stage.execute()
    assert work_at_once(stage, manner="fast") == 0
    stage.pass_time(301)
    assert work_at_once(stage, manner="fast") == 1
    assert academy.state(video)[0] == "READY"


def test_the_lock_that_a_killed_worker_left_refuses_no_message(stage, academy):
    video = academy.add("UPLOADED", by="reclaim:x", until=-1)
    academy.redis.set(f"job:encode:{video}:lock", "1", ex=14_400)
    stage.look(2)
    assert work_at_once(stage, manner="older") == 1
    assert academy.state(video)[0] == "READY"


def work_at_once(stage, **manner):
    """Let a worker receive what it can now; return how many messages it received."""
    worker = stage.worker("works", **manner)
    received = 0
    while job := worker.receive():
        worker.work(job)
        received += 1
    return received
