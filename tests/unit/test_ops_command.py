"""The operator's command from its command line on, with AWS in its place answering as the test says."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from ops import runs, stages
from ops.__main__ import main
from ops.errors import Exit

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTPUTS = {
    "StateMachineArn": "arn:aws:states:eu-west-1:123456789012:stateMachine:machine",
    "PublishBacklogFunction": "publish",
    "AutoScalingGroupName": "workers",
    "ScheduleName": "schedule",
}
SCALING = {
    "SCALING_MODE": "apply",
    "SCALING_VIDEOS_PER_WORKER": "1",
    "SCALING_SPARE_WORKERS": "1",
    "SCALING_PEAK_WINDOW_SECONDS": "120",
    "SCALING_SCALE_IN_WINDOW_SECONDS": "1200",
    "SCALING_OVERRIDE_PARAMETER": "/override",
}


class Aws:
    """AWS as far as the commands call it: an answer, or a function of the request, by name of boto3's method."""

    def __init__(self):
        self.stack = {
            "StackName": "VideoReclaim-mine",
            "StackStatus": "UPDATE_COMPLETE",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in OUTPUTS.items()],
        }
        self.answers = {
            "describe_stacks": lambda **_: {"Stacks": [self.stack]},
            "list_executions": {"executions": []},
            "get_execution_history": {"events": []},
            "get_schedule": {"Name": "schedule", "State": "ENABLED", "ScheduleExpression": "rate(1 minute)"},
            "update_schedule": {},
            "describe_alarms": {"MetricAlarms": []},
            "describe_auto_scaling_groups": {"AutoScalingGroups": []},
            "get_function_configuration": {"Environment": {"Variables": SCALING}},
            "get_parameter": {"Parameter": {"Value": "{}"}},
        }
        self.calls = []

    def client(self, _service, **_given):
        return Client(self)

    def call(self, name, given):
        self.calls.append((name, given))
        answer = self.answers[name]
        return answer(**given) if callable(answer) else answer


class Client:
    def __init__(self, aws):
        self._aws = aws

    def __getattr__(self, name):
        return lambda **given: self._aws.call(name, given)

    def get_paginator(self, name):
        return SimpleNamespace(paginate=lambda **given: [self._aws.call(name, given)])


@pytest.fixture
def aws(monkeypatch):
    answering = Aws()
    monkeypatch.setattr(stages.boto3, "Session", lambda *_args, **_given: answering)
    monkeypatch.setattr(runs, "POLL_S", 0)
    return answering


def line_of_error(capsys):
    """Return what was printed on standard error, which must be one line."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


COMMANDS = {
    "status": [],
    "run": [],
    "redrive": [],
    "pause": ["all", "--for", "2h", "--reason", "why"],
    "fix": ["3", "--for", "2h", "--reason", "why"],
    "resume": [],
    "stop": [],
    "start": [],
    "decisions": [],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "stack",
    [
        pytest.param({"StackStatus": "REVIEW_IN_PROGRESS"}, id="not-created-yet"),
        pytest.param({"StackStatus": "CREATE_IN_PROGRESS"}, id="being-created"),
        pytest.param({"StackStatus": "ROLLBACK_COMPLETE", "Outputs": []}, id="first-deployment-failed"),
        pytest.param(
            {"StackStatus": "UPDATE_COMPLETE", "Outputs": [{"OutputKey": "Machine", "OutputValue": "one"}]},
            id="of-another-version",
        ),
    ],
)
def test_a_stack_without_the_outputs_is_one_line_with_its_status(aws, capsys, stack, command):
    aws.stack = stack

    assert main([command, *COMMANDS[command], "--stage", "mine"]) == Exit.NO_AWS

    said = line_of_error(capsys)
    assert stack["StackStatus"] in said and any(key in said for key in OUTPUTS)
    assert {name for name, _ in aws.calls} == {"describe_stacks"}


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("status", "StateMachineArn"),
        ("status", "ScheduleName"),
        ("status", "AutoScalingGroupName"),
        ("status", "PublishBacklogFunction"),
        ("stop", "ScheduleName"),
        ("resume", "PublishBacklogFunction"),
    ],
)
def test_a_stack_that_lacks_one_output_names_it(aws, capsys, command, output):
    aws.stack["Outputs"] = [one for one in aws.stack["Outputs"] if one["OutputKey"] != output]

    assert main([command, "--stage", "mine"]) == Exit.NO_AWS

    assert output in line_of_error(capsys)
    assert "update_schedule" not in {name for name, _ in aws.calls}


def test_a_stage_s_file_that_is_not_json_is_one_line(aws, capsys, monkeypatch, tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "mine.json").write_text('{"region": ')
    monkeypatch.setattr(stages, "ROOT", tmp_path)

    assert main(["status", "--stage", "mine"]) == Exit.USAGE

    assert "mine.json" in line_of_error(capsys)
    assert not aws.calls


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["sleep"], "sleep", id="no-such-command"),
        pytest.param(["status"], "--stage", id="no-stage"),
        pytest.param(["status", "--stage"], "--stage", id="an-option-without-its-value"),
        pytest.param(["status", "--stage", "mine", "--loud"], "--loud", id="no-such-option"),
        pytest.param(["why", "seven", "--stage", "mine"], "video", id="no-number"),
        pytest.param(["why", "0", "--stage", "mine"], "video", id="number-out-of-range"),
        pytest.param(["redrive", "--since", "2x", "--stage", "mine"], "--since", id="no-duration"),
        pytest.param(["status", "everything", "--stage", "mine"], "everything", id="one-argument-too-many"),
        pytest.param(["run", "--limit", "0", "--stage", "mine"], "limit", id="limit-out-of-range"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_nothing_is_asked(aws, capsys, arguments, named):
    assert main(arguments) == Exit.USAGE

    assert named in line_of_error(capsys)
    assert not aws.calls


@pytest.mark.parametrize(("arguments", "status"), [([], Exit.USAGE), (["--help"], Exit.DONE)])
def test_help_is_shown_on_request_and_without_a_command(capsys, arguments, status):
    assert main(arguments) == status

    printed = capsys.readouterr()
    assert "redrive" in printed.out and not printed.err


class Failed:
    """Failed executions of Step Functions, by name, each with the error that refuses its redrive, or None."""

    def __init__(self, aws, refusals):
        self.redriven, self._refusals = [], refusals
        aws.answers |= {
            "list_executions": lambda **given: {
                "executions": [self.shown(name) for name in refusals if given["statusFilter"] == "FAILED"]
            },
            "describe_execution": lambda executionArn: self.shown(executionArn.rpartition(":")[2]),
            "redrive_execution": self.redrive,
        }

    def shown(self, name):
        return {
            "executionArn": f"arn:aws:states:eu-west-1:123456789012:execution:machine:{name}",
            "status": "SUCCEEDED" if name in self.redriven else "FAILED",
            "startDate": datetime.now(UTC),
            "error": "" if name in self.redriven else "QueueUnavailable",
            "output": json.dumps({}),
        }

    def redrive(self, executionArn):
        name = executionArn.rpartition(":")[2]
        if code := self._refusals[name]:
            raise ClientError({"Error": {"Code": code, "Message": "not now"}}, "RedriveExecution")
        self.redriven.append(name)


def test_a_redrive_that_aws_refuses_does_not_end_the_others(aws, capsys):
    failed = Failed(
        aws, {"one": None, "two": "ThrottlingException", "three": "ExecutionNotRedrivable", "four": None}
    )

    assert main(["redrive", "--stage", "mine"]) == Exit.NOT_DONE

    assert failed.redriven == ["one", "four"]
    printed = capsys.readouterr()
    said = {
        name: line for line in printed.out.splitlines() for name in failed._refusals if name in line.split()
    }
    assert "ThrottlingException" in said["two"] and "ExecutionNotRedrivable" in said["three"]
    assert "SUCCEEDED" in said["four"]
    assert printed.out.splitlines()[-1].startswith("2 succeeded, 2 failed")
    assert not printed.err


@pytest.mark.parametrize(
    ("expression", "delay"),
    [
        pytest.param("rate(1 minute)", "5 min", id="every-minute"),
        pytest.param("rate(10 minutes)", "50 min", id="slower"),
        pytest.param("rate(1 hour)", "5 h", id="as-the-scheduler-writes-60-minutes"),
        pytest.param("cron(0 * * * ? *)", "5 rounds", id="somebody-changed-it"),
    ],
)
def test_stop_says_when_the_alarm_rings_by_the_schedule(aws, capsys, expression, delay):
    aws.answers["get_schedule"] |= {"ScheduleExpression": expression}

    assert main(["stop", "--stage", "mine"]) == Exit.DONE

    (said,) = [line for line in capsys.readouterr().out.splitlines() if "NoSuccessfulRun" in line]
    assert f"after {delay}" in said
    (state,) = [given["State"] for name, given in aws.calls if name == "update_schedule"]
    assert state == "DISABLED"
