"""What `make up` deploys, at work: functions in processes of their own, with the roles that the template gives them."""

import json

import pytest

pytestmark = pytest.mark.xdist_group("deployed")


def test_stuck_videos_go_back_to_work_and_the_group_grows(deployed):
    stuck = [deployed.academy.add(until=-5) for _ in range(3)]
    living = deployed.academy.add(beats=True)

    execution = deployed.run()

    assert execution["status"] == "SUCCEEDED", execution
    record = execution["record"]
    assert (record["reclaimed"], record["enqueued"], record["failed"]) == (3, 3, {})
    assert deployed.queue.take_ids() == stuck
    assert deployed.academy.state(living) == ("PROCESSING", "worker-1", True)
    inputs = record["decision"]["inputs"]
    assert inputs["group"] and inputs["visible"] == 3 and inputs["overrideProblem"] is None
    assert deployed.desired() == record["decision"]["desired"] == 4
    assert "metricsError" not in record and "scalingError" not in record


def test_a_wrong_input_ends_the_execution_and_names_the_field(deployed):
    execution = deployed.run({"dryrun": True})
    assert (execution["status"], execution["error"]) == ("FAILED", "InvalidInput")
    assert json.loads(execution["cause"])["errorMessage"].startswith("dryrun: ")


def test_a_redrive_sends_the_failed_videos_and_no_others(deployed):
    moved_on, *failing = [deployed.academy.add(until=-5) for _ in range(3)]
    deployed.delete_queue()

    execution = deployed.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "QueueRefused"), execution
    message = json.loads(execution["cause"])["errorMessage"]
    assert message.startswith("1 video failed") and "does not exist" in message
    deployed.make_queue()
    # A worker has found the file's first message meanwhile.
    deployed.academy.sql(
        "UPDATE video_video SET status = 'PROCESSING', leased_by = 'worker-9', leased_until = now() + interval '4 h'"
        " WHERE id = %s",
        (moved_on,),
    )

    redriven = deployed.redrive(execution)

    assert (redriven["status"], redriven["redriveCount"]) == ("SUCCEEDED", 1), redriven
    assert deployed.queue.take_ids() == failing
    assert deployed.academy.state(moved_on)[:2] == ("PROCESSING", "worker-9")
    assert all(deployed.academy.state(video) == ("UPLOADED", "", False) for video in failing)
    assert redriven["record"]["recovered"] == 3 and redriven["record"]["skipped"] == {"movedOn": 1}
