"""What the operator's command says, without AWS."""

import ast
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, NoRegionError

from ops.errors import describe_aws_error
from ops.executions import Execution, message_of, summary
from ops.screen import parse_duration, show_duration
from ops.status import describe_fleet, fleet
from ops.trace import TraceLine, answer_why, evidence, explain, read_trace, still_quarantined
from video_reclaim.rules.enqueueing import Sent, outcomes
from video_reclaim.rules.reclaiming import Written
from video_reclaim.rules.staleness import Reason

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def line(message, *, video=7, minute=0, execution="run-1", reason="", error="", **evidence):
    at = AT + timedelta(minutes=minute)
    return TraceLine(at, message, video, execution, reason=reason, error=error, evidence=evidence)


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
        (0, "0 s"),
        (0.25, "0.2 s"),
        (59, "59 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90_061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_a_duration_is_shown_with_its_two_largest_units(seconds, shown):
    assert show_duration(timedelta(seconds=seconds)) == shown


def test_the_trace_is_read_oldest_first_and_other_lines_are_left_out():
    lines = [
        '{"timestamp": "2026-03-01T12:00:02+00:00", "message": "enqueued", "video": 7, "attempt": 2, "level": "INFO"}',
        '{"timestamp": "2026-03-01T12:00:01+00:00", "message": "reclaimed", "video": 7, "level": "INFO"}',
        '{"timestamp": "2026-03-01T12:00:00+00:00", "message": "listed", "stale": {"leaseExpired": 1}}',
        *("START RequestId: 1", "", "[1]"),
    ]
    assert [(one.message, one.evidence) for one in read_trace(lines)] == [
        ("reclaimed", {}),
        ("enqueued", {"attempt": 2}),
    ]


def test_each_outcome_is_a_sentence_of_its_own_with_the_error():
    messages = (
        "reclaimed",
        "released",
        "quarantined",
        "refused",
        "skipped",
        "enqueued",
        "not enqueued",
        "new",
    )
    said = {explain(line(message, error="no such thing")) for message in messages}
    assert len(said) == len(messages) and all(text.endswith("(no such thing).") for text in said)


def test_a_row_that_is_refused_after_its_message_was_sent_is_not_said_to_be_left_alone():
    ((message, details),) = outcomes(Sent(), {7: 2}, {}, Written(refused={7: "a trigger"}))
    before = explain(line("refused", reason=Reason.LEASE_EXPIRED, error="a trigger"))
    after = explain(line(message, error=details["error"]))
    assert before.startswith("Not reclaimed") and "sent" in after and "a trigger" in after


def test_the_evidence_names_what_was_read_and_nothing_that_was_not():
    lease = '(worker-1,"2026-03-01 13:00:00.25+00","2026-03-01 09:00:00+00")'
    since = (AT - timedelta(seconds=43)).isoformat()
    seen = evidence(
        line("reclaimed", holder="worker-1", lease=lease, silent_since=since, attempt=3, delay_s=9)
    )
    assert seen == (
        "leased by worker-1, lease until 2026-03-01 13:00:00, silent since 2026-03-01 11:59:17 (43 s), attempt 3"
    )
    assert evidence(line("reclaimed", holder="", lease='("",,)')) == "leased by nobody"


def test_why_shows_the_last_touch_with_what_led_to_it_and_what_followed():
    old = [line(message, execution="old") for message in ("reclaimed", "enqueued")]
    new = [line(message, execution="new", minute=5) for message in ("stale", "reclaimed", "enqueued")]
    later = line("skipped", execution="later", minute=9)
    assert answer_why([*old, *new, later]) == [*new, later]
    assert answer_why([later]) == [later]


def test_released_videos_are_no_longer_quarantined_until_they_are_quarantined_again():
    happened = {
        1: ["quarantined", "released"],
        2: ["quarantined"],
        3: ["quarantined", "released", "quarantined"],
    }
    lines = [line(what, video=video) for video, whats in happened.items() for what in whats]
    assert [read.video for read in still_quarantined(lines)] == [2, 3]


def test_a_record_of_another_version_is_no_record():
    one = Execution("a:b", "SUCCEEDED", AT, output='{"stale": [1, 2]}')
    assert one.record is None and "can't be read" in summary(one)


def test_a_record_is_summed_up_by_its_own_counts():
    numbers = {"reclaimed": 1, "enqueued": 2, "recovered": 3, "quarantined": 4, "refused": 5}
    sums = {"skipped": {"movedOn": 6}, "failed": {"QueueUnavailable": 7}}
    output = json.dumps({**numbers, **sums, "leftToNextRun": 8})
    counts = {**numbers, "skipped": 6, "failed": 7, "left to the next run": 8}
    said = summary(Execution("a:b", "SUCCEEDED", AT, output=output))
    assert said.split(", ") == [f"{number} {name}" for name, number in counts.items()]


def test_a_cause_is_the_message_of_the_function_s_error():
    assert message_of('{"errorMessage": "no grant", "errorType": "StoreRefused"}') == "no grant"
    assert (message_of("Lambda is away"), message_of("[1]")) == ("Lambda is away", "[1]")


def test_an_instance_that_is_being_terminated_drains():
    states = ("InService", "Terminating:Wait", "Pending", "Terminating", "Warmed:Stopped")
    group = {"DesiredCapacity": 2, "MinSize": 1, "MaxSize": 20}
    said = describe_fleet(fleet({**group, "Instances": [{"LifecycleState": state} for state in states]}))
    assert said == "desired 2 (of 1 to 20), 1 in service, 2 draining, 2 in other states"


@pytest.mark.parametrize(
    ("error", "part"),
    [
        pytest.param(NoCredentialsError(), "AWS_PROFILE", id="no-credentials"),
        pytest.param(NoRegionError(), "AWS_REGION", id="no-region"),
        pytest.param(EndpointConnectionError(endpoint_url="https://x"), "can't be reached", id="no-network"),
    ],
)
def test_an_error_of_aws_is_one_line(error, part):
    said = describe_aws_error(error)
    assert part in said and "\n" not in said


def test_only_two_modules_know_boto3_and_none_knows_the_database():
    for path in (Path(__file__).parents[2] / "ops").glob("*.py"):
        imports = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom | ast.Import)
        ]
        names = {getattr(node, "module", None) or alias.name for node in imports for alias in node.names}
        assert not {name.split(".")[0] for name in names} & {"psycopg2", "redis", "dev", "tests", "cdk"}
        assert "video_reclaim.adapters" not in " ".join(names)
        assert path.stem in ("aws", "stages") or "boto3" not in names
