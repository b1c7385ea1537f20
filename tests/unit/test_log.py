"""The log lines, what each of them carries, and the errors that name videos."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from video_reclaim import log
from video_reclaim.errors import StoreRefused, StoreUnavailable, describe_failures

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def call(function, *, context=None, **event):
    return log.handler(function)({"execution": EXECUTION, **event}, context)


def test_every_line_names_time_level_function_request_and_execution(lines, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "academy-reclaim")

    def function(event, _context):
        log.info("taken", video=7)
        log.warning("away", cause="gone")
        log.trace([("skipped", {"video": 8}), ("skipped", {"video": 9})])
        return {"answer": event["number"]}

    assert call(function, context=SimpleNamespace(aws_request_id="r-1"), number=42) == {"answer": 42}
    found = lines()
    for line in found:
        at = datetime.fromisoformat(line.pop("timestamp"))
        assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    place = {"function_name": "academy-reclaim", "function_request_id": "r-1", "execution": "first"}
    assert found == [
        {"level": "INFO", "message": "taken", "video": 7, **place},
        {"level": "WARNING", "message": "away", "cause": "gone", **place},
        {"level": "INFO", "message": "skipped", "video": 8, **place},
        {"level": "INFO", "message": "skipped", "video": 9, **place},
    ]


def test_a_later_call_names_its_own_request(lines, monkeypatch):
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)

    def function(_event, _context):
        log.info("taken")
        return {}

    for request in ("r-1", "r-2"):
        call(function, context=SimpleNamespace(aws_request_id=request))
    call(function)
    found = lines()
    assert [line["function_request_id"] for line in found] == ["r-1", "r-2", ""]
    assert {line["function_name"] for line in found} == {"local"}


def test_a_detail_that_is_no_json_value_is_written_as_text(lines):
    log.info("odd", at=datetime(2026, 3, 2, tzinfo=UTC))
    assert lines()[0]["at"] == "2026-03-02 00:00:00+00:00"


@pytest.mark.parametrize(
    ("error", "event", "text"),
    [
        pytest.param(
            StoreUnavailable("gone"), {"videos": [3, 4]}, "2 videos failed: 3, 4 (gone)", id="of-videos"
        ),
        pytest.param(StoreUnavailable("gone"), {"videos": []}, "gone", id="of-no-video"),
        pytest.param(StoreUnavailable("gone"), {}, "gone", id="of-a-listing"),
        pytest.param(StoreRefused("no"), {"videos": [3]}, "no", id="another-error"),
    ],
)
def test_an_unavailable_store_names_the_videos_that_wait_for_it(error, event, text):
    def function(_event, _context):
        raise error

    with pytest.raises(type(error)) as caught:
        call(function, **event)
    assert str(caught.value) == text


def test_a_handler_keeps_its_name_and_documentation():
    def function(_event, _context):
        """Do it."""
        return {}

    wrapped = log.handler(function)
    assert (wrapped.__name__, wrapped.__doc__) == ("function", "Do it.")


def test_a_failure_names_its_videos_by_reason_the_first_twenty_of_them():
    assert describe_failures({3: "gone"}) == "1 video failed: 3 (gone)"
    assert (
        describe_failures({3: "gone", 4: "denied", 5: "gone"}) == "3 videos failed: 3, 5 (gone), 4 (denied)"
    )
    assert describe_failures(dict.fromkeys(range(20), "gone")).endswith(", 19 (gone)")
    assert describe_failures(dict.fromkeys(range(100), "gone")).endswith(", 19 (gone), and 80 more")
