"""Incidents on a deployed stack, each answered by the operator's command alone."""

import json
from pathlib import Path

import botocore.client
import pytest

from dev.testing.emulator_bench import Bench
from ops import runs
from ops.__main__ import main
from ops.errors import Exit
from tests.e2e.deployed import OVERRIDE

pytestmark = pytest.mark.xdist_group("deployed")

POLICY = json.loads((Path(__file__).parents[2] / "docs" / "ops-policy.json").read_text())
ACTIONS = [one["Action"] for one in POLICY["Statement"]]
GRANTED = {action for one in ACTIONS for action in ([one] if isinstance(one, str) else one)}


@pytest.fixture
def ops(deployed, capsys, monkeypatch):
    """Run a command; return its JSON. The documented policy must grant each of its AWS calls, but those of verify."""
    for name, value in deployed.stack.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runs, "POLL_S", 0.05)

    def run(*arguments, status=Exit.DONE):
        calls, call = set(), botocore.client.BaseClient._make_api_call

        def record(client, operation, given):
            service = client.meta.service_model.service_name
            calls.add(f"{'states' if service == 'stepfunctions' else service}:{operation}")
            return call(client, operation, given)

        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(botocore.client.BaseClient, "_make_api_call", record)
            ended = main([*map(str, arguments), "--stage", "local", "--json"])
        printed = capsys.readouterr()
        assert ended == status, printed
        assert arguments == ("verify",) or calls <= GRANTED, "docs/ops-policy.json does not grant it"
        return json.loads(printed.out)

    return run


def eventually(what):
    """Wait for a condition on log lines, which may come a moment after the execution has ended."""
    return Bench.until(what, limit_s=30)


def test_a_run_that_fails_has_scaled_and_its_videos_are_stuck_until_it_is_redriven(deployed, ops):
    failing = [deployed.academy.add(until=-5) for _ in range(3)]
    deployed.delete_queue()
    failed = ops("run", status=Exit.NOT_DONE)
    deployed.make_queue()

    decision = eventually(
        lambda: (made := ops("status")["decision"]) and made["execution"] == failed["name"] and made
    )
    assert (decision["action"], decision["desired"], decision["failed"]) == (
        "scale-out",
        deployed.desired(),
        3,
    )
    stuck = eventually(lambda: len(found := ops("stuck")["videos"]) == 3 and found)
    assert [(one["video"], one["kind"]) for one in stuck] == [(video, "not enqueued") for video in failing]

    assert [one["succeeded"] for one in ops("redrive", failed["name"])["executions"]] == [True]
    assert deployed.queue.take_ids() == failing


def test_a_run_that_was_stopped_is_redriven_and_one_that_could_not_list_is_not(deployed, ops):
    expired = deployed.academy.add(until=-5)
    stopped = deployed.start()
    deployed.clients.stepfunctions.stop_execution(executionArn=stopped)
    assert deployed.ended(stopped)["status"] == "ABORTED"
    deployed.configure("ListStaleVideos", DATABASE_PORT="1")
    unlisted = ops("run", status=Exit.NOT_DONE)
    deployed.configure("ListStaleVideos")

    results = {one["name"]: one["succeeded"] for one in ops("redrive", "--since", "5m")["executions"]}

    assert (results[stopped.rpartition(":")[2]], results[unlisted["name"]]) == (True, None)
    assert deployed.queue.take_ids() == [expired]


def test_a_video_that_is_left_alone_is_stuck_and_why_has_the_last_run_s_word(deployed, ops):
    video = deployed.academy.add(tenant=None, id=555_001)  # with an id that no other test uses: logs are kept
    ops("run")

    (alone,) = eventually(lambda: ops("stuck")["videos"])
    assert (alone["video"], alone["kind"]) == (video, "tenantUnknown")
    assert ops("why", video)["lines"][-1]["reason"] == "tenantUnknown"
    assert any("tenantUnknown" in one["text"] for one in ops("status")["unwell"])


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


def test_an_order_is_obeyed_until_it_is_taken_back(deployed, ops):
    ops("fix", 4, "--for", "1h", "--reason", "a launch")
    ops("run")
    assert deployed.desired() == 4
    assert ops("status")["override"]["desired"] == 4

    assert ops("resume")["replaced"]["mode"] == "fixed"
    assert not deployed.clients.ssm.get_parameters(Names=[OVERRIDE])["Parameters"]


def test_messages_that_no_worker_deleted_are_shown_and_stay(deployed, ops):
    sqs, queue = deployed.clients.sqs, deployed.stack.dlq_url
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    sqs.set_queue_attributes(QueueUrl=deployed.stack.queue_url, Attributes={"RedrivePolicy": policy})
    sqs.send_message(QueueUrl=queue, MessageBody='{"video_id": 7}')
    for _ in range(2):
        (videos,) = [one for one in ops("dead-letters")["queues"] if one["what"] == "videos"]
        assert (videos["count"], videos["messages"][0]["body"]) == (1, '{"video_id": 7}')
    assert "dead letters" in [one["what"] for one in ops("status")["unwell"]]
    sqs.purge_queue(QueueUrl=queue)


def test_what_is_deployed_is_verified_and_an_alarm_that_somebody_changed_is_found(deployed, ops):
    cloudwatch = deployed.clients.cloudwatch
    kept = {one["check"]: one["kind"] for one in ops("verify")["findings"]}
    assert "FAIL" not in kept.values() and len(kept) == 7

    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["video-reclaim-local-OldestWait"])["MetricAlarms"]
    fields = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    given = {name: value for name, value in alarm.items() if name in fields}
    cloudwatch.put_metric_alarm(**given | {"Threshold": 7})
    (failed,) = [one for one in ops("verify", status=Exit.NOT_DONE)["findings"] if one["kind"] == "FAIL"]
    cloudwatch.put_metric_alarm(**given)
    assert failed["check"] == "alarms" and "Threshold 7" in failed["text"]


def test_missing_credentials_are_one_line(ops, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert main(["status", "--stage", "existing"]) == Exit.NO_AWS
    assert "No AWS credentials" in capsys.readouterr().err
