"""What the operator's command decides and says, without AWS."""

import ast
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from ops.aws import Deployment
from ops.durations import parse_duration, show_duration
from ops.errors import Exit, OpsError, describe_aws_error
from ops.executions import Execution, meaning, message_of, redrive_refusal, summary
from ops.override import order
from ops.runs import execution_input, remarks
from ops.schedule import what_keeps_running
from ops.status import describe_backlog, describe_group, describe_override, describe_wait
from ops.trace import TraceLine, answer, evidence, explain, read_trace, repetitions, still_quarantined
from ops.videos import release_commands
from video_reclaim.records import to_builtins
from video_reclaim.rules.enqueueing import Sent, outcomes
from video_reclaim.rules.reclaiming import Written
from video_reclaim.rules.run_record import RunRecord
from video_reclaim.rules.staleness import Reason
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.override import parse_override
from video_reclaim.scaling.records import Group, Inputs
from video_reclaim.settings import Scaling

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GROUP = Group(min=1, max=20, desired=4, in_service=4, safety="protected")


def inputs(*, minute=0, visible=0, uploaded=0, processing=0, group=GROUP):
    return Inputs(
        at=AT + timedelta(minutes=minute),
        uploaded=uploaded,
        processing=processing,
        visible=visible,
        window=(),
        group=group,
        settings=Scaling("apply", 1, 2, 120, 1200, "/order"),
        measured_every_s=60,
    )


def execution(status="SUCCEEDED", *, record=None, error="", cause="", refusal=""):
    return Execution(
        arn="arn:aws:states:eu-west-1:123456789012:execution:machine:one",
        status=status,
        started=AT,
        stopped=None if status == "RUNNING" else AT + timedelta(seconds=3),
        output="" if record is None else json.dumps(to_builtins(record)),
        error=error,
        cause=cause,
        why_not_redrivable=refusal,
    )


def line(message, *, video=7, minute=0, execution="run-1", **fields):
    at = AT + timedelta(minutes=minute)
    return TraceLine(timestamp=at, message=message, video=video, execution=execution, **fields)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("7d", 604_800), (" 45S ", 45), ("1d2h3m4s", 93_784)],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2 h", "-2h", "1.5h", "30m1h", "0h", "2w", "367d", "9" * 30 + "d"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        pytest.param(0, "0 s", id="none"),
        pytest.param(0.25, "0.2 s", id="less-than-a-second"),
        pytest.param(59, "59 s", id="seconds"),
        pytest.param(3600, "1 h", id="a-round-hour"),
        pytest.param(5400, "1 h 30 min", id="two-units"),
        pytest.param(90_061, "1 d 1 h", id="never-more-than-two"),
        pytest.param(86_460, "1 d", id="nothing-after-a-gap"),
        pytest.param(-5, "0 s", id="clocks-that-differ"),
    ],
)
def test_a_duration_is_shown_with_its_two_largest_units(seconds, shown):
    assert show_duration(timedelta(seconds=seconds)) == shown


def test_the_trace_is_read_oldest_first_and_other_lines_are_left_out():
    lines = [
        '{"timestamp": "2026-03-01T12:00:02+00:00", "message": "enqueued", "video": 7, "attempt": 2, "more": 1}',
        '{"timestamp": "2026-03-01T12:00:01+00:00", "message": "reclaimed", "video": 7, "level": "INFO"}',
        '{"timestamp": "2026-03-01T12:00:00+00:00", "message": "listed", "stale": {"leaseExpired": 1}}',
        "START RequestId: 1",
        "",
    ]

    assert [read.message for read in read_trace(lines)] == ["reclaimed", "enqueued"]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.stale])
def test_a_reclaim_is_explained_by_its_reason(reason):
    assert reason.meaning in explain(line("reclaimed", reason=reason.value))


def test_a_reason_of_another_version_is_shown_as_it_is():
    assert "solarFlare" in explain(line("reclaimed", reason="solarFlare"))
    assert meaning("solarFlare") == "solarFlare"


@pytest.mark.parametrize(
    "message",
    [
        "reclaimed",
        "released",
        "quarantined",
        "refused",
        "skipped",
        "first miss",
        "message lost",
        "enqueued",
        "not enqueued",
        "new",
    ],
)
def test_each_outcome_is_a_sentence_of_its_own_with_the_error(message):
    said = explain(line(message, error="no such thing"))

    assert said.endswith("(no such thing).")
    others = {explain(line(other)) for other in ("reclaimed", "enqueued", "refused") if other != message}
    assert said not in others


def test_a_row_that_is_refused_after_its_message_was_sent_is_not_said_to_be_left_alone():
    ((_, details),) = list(outcomes(Sent(), {7: 2}, {}, Written(refused={7: "a trigger"})))
    after = explain(line("refused", **{name: value for name, value in details.items() if name != "video"}))
    before = explain(line("refused", reason=Reason.LEASE_EXPIRED.value, error="a trigger"))

    assert before.startswith("Not reclaimed") and not after.startswith("Not reclaimed")
    assert "a trigger" in after and "sent" in after


def test_the_evidence_names_what_was_read_and_nothing_that_was_not():
    seen = evidence(
        line(
            "reclaimed",
            holder="worker-1",
            lease='(worker-1,"2026-03-01 13:00:00.25+00","2026-03-01 09:00:00+00")',
            silent_since=AT - timedelta(seconds=43),
            waiting_since=AT - timedelta(minutes=20),
            queue_oldest_s=12.4,
            queue_empty_since=AT - timedelta(minutes=2),
            attempt=3,
        )
    )

    for part in ("worker-1", "2026-03-01 13:00:00", "2026-03-01 11:59:17", "43 s", "12 s", "attempt 3"):
        assert part in seen
    assert "2026-03-01 11:40:00 (20 min)" in seen and "empty since 2026-03-01 11:58:00 (2 min)" in seen
    assert evidence(line("reclaimed")) == ""
    nobody = evidence(line("reclaimed", holder="", lease='("",,)'))
    assert "nobody" in nobody and "until" not in nobody


def test_why_shows_the_last_touch_with_what_led_to_it_and_what_followed():
    lines = [
        line("reclaimed", minute=0, execution="old"),
        line("enqueued", minute=0, execution="old"),
        line("first miss", minute=5, execution="new"),
        line("reclaimed", minute=6, execution="new"),
        line("enqueued", minute=6, execution="new"),
        line("skipped", minute=9, execution="later"),
    ]

    assert [read.message for read in answer(lines)] == ["first miss", "reclaimed", "enqueued", "skipped"]
    only_looked_at = [line("first miss"), line("skipped", minute=1)]
    assert answer(only_looked_at) == only_looked_at


def test_the_lines_of_retries_are_shown_once():
    lines = [line("not enqueued", minute=m, error="away") for m in (0, 1)] + [line("enqueued", minute=2)]

    assert [(read.timestamp, times) for read, times in repetitions(lines)] == [
        (AT, 2),
        (lines[2].timestamp, 1),
    ]


def test_released_videos_are_no_longer_quarantined_until_they_are_quarantined_again():
    lines = [
        line("quarantined", video=1, minute=0),
        line("quarantined", video=2, minute=1),
        line("released", video=1, minute=2),
        line("quarantined", video=3, minute=3),
        line("released", video=3, minute=4),
        line("quarantined", video=3, minute=5),
    ]

    assert [read.video for read in still_quarantined(lines)] == [2, 3]


def test_a_release_names_at_most_as_many_videos_as_an_input_may():
    commands = release_commands("mine", list(range(1, 202)))

    named = [list(map(int, command.rpartition(" ")[2].split(","))) for command in commands]
    assert [len(ids) for ids in named] == [100, 100, 1]
    assert [video for ids in named for video in ids] == list(range(1, 202))
    assert all("--stage mine" in command for command in commands)


@pytest.mark.parametrize(
    ("one", "last_state", "helps"),
    [
        pytest.param(
            execution("FAILED", error="QueueUnavailable"), "RetryFailedVideos", True, id="failed-items"
        ),
        pytest.param(execution("TIMED_OUT"), "Reclaim", True, id="timed-out"),
        pytest.param(execution("FAILED", error="InvalidInput"), "PublishBacklog", False, id="wrong-input"),
        pytest.param(execution("FAILED", error="StoreUnavailable"), "NotListed", False, id="listing-failed"),
        pytest.param(
            execution("FAILED", error="QueueUnavailable", refusal="too old"),
            "RetryFailedVideos",
            False,
            id="too-old",
        ),
    ],
)
def test_a_redrive_is_refused_where_it_can_t_help(one, last_state, helps):
    assert (redrive_refusal(one, last_state) == "") is helps


@pytest.mark.parametrize(
    ("one", "part"),
    [
        pytest.param(execution("RUNNING"), "running", id="running"),
        pytest.param(execution(record=RunRecord()), "nothing was stale", id="idle"),
        pytest.param(
            execution(record=RunRecord(reclaimed=4, enqueued=3)), "4 reclaimed, 3 enqueued", id="work"
        ),
        pytest.param(
            execution(record=RunRecord(dry_run=True, stale={"orphaned": 1})), "1 video would", id="dry-run"
        ),
        pytest.param(
            execution("FAILED", error="StoreRefused", cause="no grant"), "StoreRefused: no grant", id="failed"
        ),
        pytest.param(execution("ABORTED"), "no cause", id="stopped"),
    ],
)
def test_an_execution_in_a_clause(one, part):
    assert part in summary(one)


def test_a_record_of_another_version_is_no_record():
    one = Execution(arn="a:b", status="SUCCEEDED", started=AT, output='{"stale": [1, 2]}')

    assert one.record is None and one.decision is None
    assert "another" in summary(one) or "can't be read" in summary(one)


def test_a_cause_is_the_message_of_the_function_s_error():
    assert message_of('{"errorMessage": "no grant", "errorType": "StoreRefused"}') == "no grant"
    assert message_of("Lambda is away") == "Lambda is away"
    assert message_of("[1]") == "[1]"


def test_the_record_s_remarks_name_what_went_wrong():
    record = RunRecord(
        heartbeats_trusted=False, tenant_unknown=[5], metrics_error="away", scaling_error="AutoScaling.X"
    )
    said = " ".join(remarks(record))

    assert all(part in said for part in ("Redis", "5", "away", "AutoScaling.X"))
    assert remarks(RunRecord(heartbeats_trusted=True)) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"dry_run": True, "limit": 3}, {"dryRun": True, "limit": 3}, id="both"),
    ],
)
def test_the_input_of_an_execution(given, expected):
    assert execution_input(**{"dry_run": False, "limit": None, "release": [], **given}) == expected


@pytest.mark.parametrize(
    "given",
    [{"limit": 0}, {"limit": 10_001}, {"release": ["x"]}],
    ids=["limit-0", "limit-too-large", "no-id"],
)
def test_an_input_that_the_functions_would_refuse_is_not_sent(given):
    with pytest.raises(OpsError) as refused:
        execution_input(**{"dry_run": False, "limit": None, "release": [], **given})
    assert refused.value.status == Exit.USAGE
    assert next(iter(given)) in str(refused.value)


@pytest.mark.parametrize(
    ("mode", "desired"), [("hold", None), ("no-scale-in", None), ("no-scale-out", None), ("fixed", 7)]
)
def test_an_override_is_one_that_the_functions_understand(mode, desired):
    read, problem = parse_override(order(mode, timedelta(hours=2), " launch ", at=AT, desired=desired), AT)

    assert problem is None
    assert (read.mode, read.desired, read.reason) == (mode, desired, "launch")
    assert timedelta(hours=2) <= read.until - AT <= timedelta(hours=2, seconds=1)


def test_an_override_that_lasts_too_long_for_the_functions_is_not_written():
    with pytest.raises(OpsError, match="30 days"):
        order("hold", timedelta(days=31), "forever", at=AT)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("fixed", "no number"), ("hold", "  "), ("sideways", "why")],
    ids=["fixed", "reason", "mode"],
)
def test_an_override_that_could_not_be_understood_is_not_written(mode, reason):
    with pytest.raises(OpsError) as refused:
        order(mode, timedelta(hours=1), reason, at=AT)
    assert refused.value.status == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param(None, "none", id="none"),
        pytest.param("hold on", "can't be understood", id="not-json"),
        pytest.param(
            order("fixed", timedelta(hours=2), "launch", at=AT, desired=7), "fixed at 7", id="in-force"
        ),
        pytest.param(
            order("hold", timedelta(hours=2), "launch", at=AT - timedelta(hours=3)), "ended", id="expired"
        ),
    ],
)
def test_the_override_in_words(text, part):
    assert part in describe_override(text, AT)


def test_the_group_in_words():
    instances = [
        {"LifecycleState": state} for state in ("InService", "Terminating:Wait", "Pending", "Terminating")
    ]
    said = describe_group({"DesiredCapacity": 2, "MinSize": 1, "MaxSize": 20, "Instances": instances})

    assert all(
        part in said for part in ("desired 2", "1 to 20", "1 in service", "2 draining", "1 in other states")
    )
    assert "unknown" in describe_group(None)


def test_what_is_not_known_is_not_shown_as_0():
    assert "unknown" in describe_backlog([execution("FAILED", error="StoreUnavailable")])
    assert "unknown" in describe_wait([execution("FAILED"), execution(record=RunRecord())])
    decided = RunRecord(decision=decide(inputs(uploaded=None, processing=3)))
    assert "unknown waiting" in describe_backlog([execution("RUNNING"), execution(record=decided)])


def test_stop_names_what_still_runs():
    assert "one" in " ".join(what_keeps_running("mine", [execution("RUNNING")], "rate(1 minute)"))
    assert "No execution is running." in what_keeps_running("mine", [], "rate(1 minute)")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        pytest.param(NoCredentialsError(), "AWS_PROFILE", id="no-credentials"),
        pytest.param(NoRegionError(), "AWS_REGION", id="no-region"),
        pytest.param(EndpointConnectionError(endpoint_url="https://x"), "can't be reached", id="no-network"),
        pytest.param(
            ClientError({"Error": {"Code": "AccessDenied", "Message": "not\nyou"}}, "PutParameter"),
            "refused PutParameter: AccessDenied: not you",
            id="refused",
        ),
    ],
)
def test_an_error_of_aws_is_one_line(error, part):
    said = describe_aws_error(error)

    assert part in said and "\n" not in said


POLICY = json.loads((ROOT / "docs" / "ops-policy.json").read_text())
OUTPUTS = ("StateMachineArn", "PublishBacklogFunction", "AutoScalingGroupName", "ScheduleName")
PASS_ROLE = "iam:PassRole"  # UpdateSchedule hands the schedule's role over


def granted():
    return {
        action
        for statement in POLICY["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


class Recording:
    """A session whose clients note what they are asked, in place of asking AWS."""

    ANSWERS: ClassVar = {
        "describe_stacks": {
            "Stacks": [{"Outputs": [{"OutputKey": key, "OutputValue": key} for key in OUTPUTS]}]
        },
        "get_function_configuration": {
            "Environment": {"Variables": {"SCALING_OVERRIDE_PARAMETER": "/order"}}
        },
        "describe_execution": {"executionArn": "arn:1", "status": "RUNNING", "startDate": AT},
        "describe_auto_scaling_groups": {"AutoScalingGroups": []},
        "get_execution_history": {"events": []},
        "start_execution": {"executionArn": "arn:1"},
        "get_parameter": {"Parameter": {"Value": ""}},
        "get_schedule": {},
    }

    def __init__(self):
        self.called = set()

    def client(self, service, **_):
        return _Client(self, service)


class _Client:
    def __init__(self, recording, service):
        self._recording, self._service = recording, service

    def __getattr__(self, method):
        def call(name=None, **_):
            operation = name if method == "get_paginator" else method
            camel = "".join(part.capitalize() for part in operation.split("_"))
            service = {"stepfunctions": "states"}.get(self._service, self._service)
            self._recording.called.add(f"{service}:{camel}")
            no_pages = SimpleNamespace(paginate=lambda **_: [])
            return no_pages if method == "get_paginator" else Recording.ANSWERS.get(method, {})

        return call


CALLS = {
    "output": ("StateMachineArn",),
    "machine": (),
    "settings": (Scaling,),
    "list_executions": (),
    "execution_arn": ("one",),
    "describe": ("arn:1",),
    "describe_all": ([],),
    "last_state": ("arn:1",),
    "start": ({},),
    "redrive": ("arn:1",),
    "ringing_alarms": (),
    "group": (),
    "override_text": (),
    "put_override": ("{}",),
    "delete_override": (),
    "schedule": (),
    "enable_schedule": (True,),
}


def called():
    """The IAM actions of every call that the command makes."""
    recording = Recording()
    deployment = Deployment("mine", recording, None)
    deployment.settings = lambda _section: SimpleNamespace(override_parameter="/order")
    deployment.log_lines("{}", since=timedelta(hours=1))
    deployment._environment  # noqa: B018 (a property that asks)
    for name, arguments in CALLS.items():
        found = getattr(deployment, name)
        if callable(found):
            found(*arguments)
    return recording.called


def test_every_method_is_called_here():
    methods = {name for name in vars(Deployment) if not name.startswith("_")}
    assert methods == {*CALLS, "log_lines"}


def test_the_documented_policy_grants_exactly_what_the_command_calls():
    assert granted() == called() | {PASS_ROLE}


@pytest.mark.parametrize("path", sorted((ROOT / "ops").glob("*.py")), ids=lambda path: path.stem)
def test_only_two_modules_know_aws_and_none_knows_the_database(path):
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not {name.split(".")[0] for name in names} & {"psycopg2", "redis", "dev", "tests", "cdk"}
    assert "video_reclaim.adapters" not in " ".join(names)
    if path.stem not in ("aws", "stages"):
        assert "boto3" not in names
