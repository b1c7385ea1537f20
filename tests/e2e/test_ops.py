"""The operator's command against a deployed stack: every command, and the calls that it makes."""

import json
import re
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
GRANTED = {
    action
    for statement in POLICY["Statement"]
    for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
}


class Ops:
    """Runs commands in this process, and checks that the documented policy grants each AWS call."""

    def __init__(self, capsys, monkeypatch):
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def run(self, *arguments, stage="local", status=Exit.DONE):
        """Run a command, check its exit status, and return what it printed, with single spaces."""
        calls, call = set(), botocore.client.BaseClient._make_api_call

        def record(client, operation, given):
            service = client.meta.service_model.service_name
            calls.add(f"{'states' if service == 'stepfunctions' else service}:{operation}")
            return call(client, operation, given)

        self._capsys.readouterr()
        with self._monkeypatch.context() as patched:
            patched.setattr(botocore.client.BaseClient, "_make_api_call", record)
            ended = main([*map(str, arguments), *(["--stage", stage] if stage else [])])
        printed = self._capsys.readouterr()
        assert ended == status, printed
        assert not calls - GRANTED, "docs/ops-policy.json does not grant it"
        if status in (Exit.USAGE, Exit.NO_AWS):
            assert len(printed.err.splitlines()) == 1, printed.err
        return " ".join((printed.out + printed.err).split())


@pytest.fixture
def ops(deployed, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", deployed.stack.endpoint_url)
    monkeypatch.setenv("AWS_REGION", deployed.stack.region)
    monkeypatch.setattr(runs, "POLL_S", 0.05)
    return Ops(capsys, monkeypatch)


def failed_execution(deployed, given=None):
    """Run an execution that fails because there is no queue; make the queue again."""
    deployed.delete_queue()
    execution = deployed.run(given)
    deployed.make_queue()
    assert execution["error"] == "QueueUnavailable"
    return execution


def test_status_is_one_screen_about_the_stage(deployed, ops):
    deployed.academy.add("UPLOADED")
    deployed.run()
    ops.run("pause", "scale-in", "--for", "2h", "--reason", "a launch")

    said = ops.run("status")

    assert "1 waiting (UPLOADED)" in said and "desired 1 (of 1 to 20)" in said
    assert "OFF, rate(1 minute)" in said and "no-scale-in" in said and "a launch" in said
    assert deployed.started[-1].rpartition(":")[2] in said


def test_status_names_an_alarm_in_state_alarm(deployed, ops):
    deployed.clients.cloudwatch.put_metric_data(
        Namespace=deployed.stack.metric_namespace,
        MetricData=[{"MetricName": "VideosQuarantined", "Value": 1}],
    )

    Bench.until(lambda: "VideosQuarantined: " in ops.run("status"), limit_s=30)


def eventually(what):
    """Wait for a condition on log lines, which may come a moment after the execution has ended."""
    return Bench.until(what, limit_s=30)


def test_why_and_history_tell_what_happened_to_one_video(deployed, ops):
    add = deployed.academy.add  # with ids that no other test uses: the logs of all tests are kept
    video, other = add(until=-5, id=555_001), add(until=-5, by="worker-9", id=555_002)
    execution = deployed.run()
    eventually(lambda: execution["name"] in ops.run("history", video))
    eventually(lambda: "was sent" in ops.run("history", video))

    why, history = ops.run("why", video), ops.run("history", video, "--since", "1h")

    for said in (why, history):
        assert "its lease expired" in said and "leased by worker-1" in said and "lease until 20" in said
        assert execution["name"] in said
        assert "worker-9" not in said, f"a line about video {other}"
    assert history.index("Put back to work") < history.index("was sent")


def test_why_has_no_answer_for_a_video_without_a_trace(deployed, ops):
    said = ops.run("why", 999_999_999, status=Exit.NOT_DONE)

    assert "No trace of video 999999999" in said


def test_run_shows_the_record_of_what_it_did(deployed, ops):
    expired = deployed.academy.add(until=-5)

    dry = ops.run("run", "--dry-run")
    assert "leaseExpired" in dry and f"│ {expired} │" in dry
    assert deployed.queue.take_ids() == []
    said = ops.run("run", "--limit", 1)

    assert "SUCCEEDED" in said and "1 reclaimed, 1 enqueued" in said
    assert deployed.queue.take_ids() == [expired]


def test_run_prints_the_whole_record_as_json(deployed, ops):
    expired = deployed.academy.add(until=-5)

    record = json.loads(ops.run("run", "--dry-run", "--json"))

    assert record["videos"] == [{"id": expired, "reason": "leaseExpired"}]


def test_run_says_why_an_execution_failed(deployed, ops):
    deployed.academy.add(until=-5)
    deployed.delete_queue()

    said = ops.run("run", status=Exit.NOT_DONE)

    deployed.make_queue()
    assert "FAILED" in said and "QueueUnavailable" in said and "redrive" in said


def test_redrive_takes_just_the_executions_that_it_can_help(deployed, ops):
    stale = [deployed.academy.add(until=-5) for _ in range(3)]
    wrong_input = deployed.run({"limit": 0})
    helped = [failed_execution(deployed, {"limit": limit}) for limit in (1, 2)]

    listed = ops.run("redrive", "--since", "1h", "--dry-run")
    assert listed.count("would be redriven") >= 2 and deployed.queue.count() == 0
    said = ops.run("redrive", "--since", "1h")

    assert {deployed.ended(one["executionArn"])["status"] for one in helped} == {"SUCCEEDED"}
    assert deployed.ended(wrong_input["executionArn"])["status"] == "FAILED"
    assert "its input is wrong" in said and "0 failed," in said
    assert deployed.queue.take_ids() == stale


def test_redrive_does_not_try_an_execution_that_could_not_list(deployed, ops):
    deployed.configure("ListStaleVideos", DATABASE_PORT="1")
    execution = deployed.run()
    assert execution["error"] == "StoreUnavailable"

    said = ops.run("redrive", "--since", "1h")

    assert execution["executionArn"].rpartition(":")[2] in said and "the listing failed" in said
    assert deployed.ended(execution["executionArn"])["redriveCount"] == 0


def test_redrive_says_that_an_execution_failed_again(deployed, ops):
    deployed.academy.add(until=-5)
    failed_execution(deployed)
    deployed.delete_queue()

    said = ops.run("redrive", "--since", "1h", status=Exit.NOT_DONE)

    deployed.make_queue()
    assert "1 failed," in said
    assert "0 failed," in ops.run("redrive", "--since", "1h")


def order_of(deployed):
    return json.loads(deployed.clients.ssm.get_parameter(Name=OVERRIDE)["Parameter"]["Value"])


@pytest.mark.parametrize(
    ("what", "mode"), [("scale-in", "no-scale-in"), ("scale-out", "no-scale-out"), ("all", "hold")]
)
def test_pause_writes_an_override_that_the_decision_obeys(deployed, ops, what, mode):
    for _ in range(3):
        deployed.academy.add("UPLOADED")

    ops.run("pause", what, "--for", "1h30m", "--reason", "a migration")

    assert order_of(deployed)["mode"] == mode
    deployed.run()
    assert deployed.desired() == (3 if what == "scale-in" else 1)
    assert "hold" in ops.run("decisions", "--since", "1m") or what == "scale-in"


def test_fix_sets_the_fleet_and_resume_ends_the_override(deployed, ops):
    ops.run("fix", 4, "--for", "1h", "--reason", "a launch")
    deployed.run()
    assert deployed.desired() == 4

    replaced = ops.run("fix", 5, "--for", "1h", "--reason", "a larger launch")
    assert "Replaced: fixed at 4" in replaced

    assert "fixed at 5" in ops.run("resume")
    assert "There is no override." in ops.run("resume")


def test_stop_and_start_change_the_schedule_s_state_alone(deployed, ops):
    scheduler, name = deployed.clients.scheduler, deployed.stack.outputs()["ScheduleName"]

    def shown():
        schedule = scheduler.get_schedule(Name=name)
        kept = ("Target", "ScheduleExpression", "FlexibleTimeWindow", "Description")
        return schedule["State"], {field: schedule.get(field) for field in kept}

    _, before = shown()
    try:
        ops.run("start")
        assert shown() == ("ENABLED", before)
    finally:
        assert "safe" in ops.run("stop")
    assert shown() == ("DISABLED", before)


def test_decisions_show_backlog_and_queue(deployed, ops):
    for _ in range(8):
        deployed.academy.add("UPLOADED")
        deployed.clients.sqs.send_message(QueueUrl=deployed.stack.queue_url, MessageBody='{"video_id": 1}')
    deployed.run()

    said = ops.run("decisions", "--since", "1m")

    assert re.search(r"scale-out │ 1 → 8 │ 8 \+ 0 │ 8 \+ 0 │", said)


def test_a_quarantined_video_is_listed_until_it_is_released(deployed, ops):
    video = deployed.academy.add(until=-5, id=777_001)  # no other test's lines are about it
    deployed.configure("Reclaim", RECLAIMING_MAX_RECLAIMS="1")
    deployed.run()
    deployed.academy.sql(
        "UPDATE video_video SET status = 'PROCESSING', leased_by = 'worker-2', leased_until = now() - interval '1 s'"
    )
    assert deployed.run()["record"]["quarantined"] == 1
    deployed.queue.take_all()
    eventually(lambda: f"│ {video} │" in ops.run("quarantined"))
    assert "--stage local --release" in ops.run("quarantined")

    assert "1 reclaimed, 1 enqueued" in ops.run("run", "--release", video)

    assert deployed.queue.take_ids() == [video]
    eventually(lambda: f"│ {video} │" not in ops.run("quarantined"))
    assert "Sent back to work by an operator" in ops.run("why", video)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["why", "x"], id="no-number"),
        pytest.param(["why", "0"], id="no-id"),
        pytest.param(["run", "--limit", "0"], id="limit"),
        pytest.param(["pause", "scale-in", "--for", "2x", "--reason", "a"], id="no-duration"),
        pytest.param(["pause", "scale-in", "--for", "2h", "--reason", " "], id="no-reason"),
        pytest.param(["pause", "sideways", "--for", "2h", "--reason", "a"], id="direction"),
        pytest.param(["fix", "3"], id="no-time"),
    ],
)
def test_a_wrong_command_line_changes_nothing(deployed, ops, arguments):
    before = len(
        deployed.clients.stepfunctions.list_executions(stateMachineArn=deployed.stack.state_machine_arn)
    )

    ops.run(*arguments, status=Exit.USAGE)

    listed = deployed.clients.stepfunctions.list_executions(stateMachineArn=deployed.stack.state_machine_arn)
    assert len(listed) == before
    assert not deployed.clients.ssm.get_parameters(Names=[OVERRIDE])["Parameters"]


def test_an_unknown_stage_is_one_line(ops):
    assert "no stage 'nowhere'" in ops.run("status", stage="nowhere", status=Exit.NO_AWS)


def test_an_endpoint_that_does_not_answer_is_one_line(ops, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "can't be reached" in ops.run("status", status=Exit.NO_AWS)


def test_missing_credentials_are_one_line(ops, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert "No AWS credentials" in ops.run("status", stage="existing", status=Exit.NO_AWS)


def test_a_refusal_is_one_line(deployed, ops, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", deployed.relay.url)
    deployed.relay.fail("ListExecutions", code="AccessDenied", status=403)
    assert "AWS refused ListExecutions" in ops.run("status", status=Exit.NO_AWS)
