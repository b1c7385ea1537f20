"""Incidents on a deployed stack, each answered by the operator's command alone."""

import json

import pytest

from dev.testing.emulator_bench import Bench
from ops import runs
from ops.__main__ import main
from ops.errors import Exit

pytestmark = pytest.mark.xdist_group("deployed")


@pytest.fixture
def ops(deployed, capsys, monkeypatch):
    """Run a command; return its JSON."""
    for name, value in deployed.stack.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runs, "POLL_S", 0.05)

    def run(*arguments, status=Exit.DONE):
        capsys.readouterr()
        assert main([*map(str, arguments), "--stage", "local", "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def eventually(what):
    """Wait for a condition on log lines, which may come a moment after the execution has ended."""
    return Bench.until(what, limit_s=30)


def test_a_run_that_fails_has_scaled_and_its_videos_are_stuck_until_it_is_redriven(deployed, ops):
    failing, alone = [deployed.academy.add(until=-5) for _ in range(3)], deployed.academy.add(tenant=None)
    deployed.delete_queue()
    failed = ops("run", status=Exit.NOT_DONE)
    assert "queues" in [one["what"] for one in ops("status")["unwell"]]
    deployed.make_queue()

    decision = eventually(
        lambda: (made := ops("status")["decision"]) and made["execution"] == failed["name"] and made
    )
    assert (decision["action"], decision["desired"], decision["failed"]) == (
        "scale-out",
        deployed.desired(),
        3,
    )
    stuck = eventually(lambda: len(found := ops("stuck")["videos"]) == 4 and found)
    assert [(one["video"], one["kind"]) for one in stuck] == [
        *((video, "not enqueued") for video in failing),
        (alone, "tenantUnknown"),
    ]
    assert ops("why", alone)["lines"][-1]["reason"] == "tenantUnknown"

    assert [one["succeeded"] for one in ops("redrive", failed["name"])["executions"]] == [True]
    assert deployed.queue.take_ids() == failing


def test_a_quarantined_video_is_listed_until_it_is_released_and_no_other_is(deployed, ops):
    video, healthy = deployed.academy.add(until=-5, id=777_001), deployed.academy.add(beats=True)
    deployed.configure("Reclaim", RECLAIMING_MAX_RECLAIMS="1")
    ops("run")
    deployed.academy.sql(
        "UPDATE video_video SET status = 'PROCESSING', leased_by = 'worker-2', leased_until = now() - interval '1 s'"
        " WHERE id = %s",
        (video,),
    )
    assert ops("run")["record"]["quarantined"] == 1
    deployed.queue.take_all()
    eventually(lambda: video in [one["video"] for one in ops("quarantined")["videos"]])

    released = ops("run", "--release", f"{video},{healthy}", status=Exit.NOT_DONE)

    assert released["notReleased"] == [healthy] and deployed.queue.take_ids() == [video]
    eventually(lambda: video not in [one["video"] for one in ops("quarantined")["videos"]])


def test_messages_that_no_worker_deleted_are_shown_and_stay(deployed, ops):
    sqs, queue = deployed.clients.sqs, deployed.stack.dlq_url
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    sqs.set_queue_attributes(QueueUrl=deployed.stack.queue_url, Attributes={"RedrivePolicy": policy})
    sqs.send_message(QueueUrl=queue, MessageBody='{"video_id": 7}')
    for _ in range(2):
        (videos,) = [one for one in ops("dead-letters")["queues"] if one["what"] == "videos"]
        assert (videos["count"], videos["messages"][0]["body"]) == (1, '{"video_id": 7}')
    sqs.purge_queue(QueueUrl=queue)


def test_what_is_deployed_is_verified_and_an_alarm_that_somebody_changed_is_found(deployed, ops):
    cloudwatch = deployed.clients.cloudwatch
    assert {one["kind"] for one in ops("verify")["findings"]} == {"ok", "note"}

    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["video-reclaim-local-OldestWait"])["MetricAlarms"]
    fields = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    given = {name: value for name, value in alarm.items() if name in fields}
    cloudwatch.put_metric_alarm(**given | {"Threshold": 7})
    (failed,) = [one for one in ops("verify", status=Exit.NOT_DONE)["findings"] if one["kind"] == "FAIL"]
    cloudwatch.put_metric_alarm(**given)
    assert failed["check"] == "alarms" and "Threshold 7" in failed["text"]
