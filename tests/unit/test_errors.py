import json

import pytest

from video_reclaim import log
from video_reclaim.errors import StoreRefused, StoreUnavailable, describe_failures

EXECUTION = "arn:aws:states:eu-central-1:123456789012:execution:reclaim:one"


def test_a_failure_of_several_names_each_with_its_reason():
    assert describe_failures({3: "gone", 5: "denied"}) == "2 videos failed: 3 (gone), 5 (denied)"


def test_videos_that_failed_for_the_same_reason_stand_together():
    failures = {3: "gone", 4: "denied", 5: "gone"}
    assert describe_failures(failures) == "3 videos failed: 3, 5 (gone), 4 (denied)"


def test_one_video_is_one_video():
    assert describe_failures({3: "gone"}) == "1 video failed: 3 (gone)"


@pytest.mark.parametrize(
    ("count", "end"),
    [
        pytest.param(20, ", 19 (gone)", id="twenty-are-all-named"),
        pytest.param(100, ", 19 (gone), and 80 more", id="of-a-hundred-the-first-twenty-are-named"),
    ],
)
def test_a_failure_of_very_many_names_the_first_twenty(count, end):
    text = describe_failures(dict.fromkeys(range(count), "gone"))
    assert text.startswith(f"{count} videos failed: 0, 1, 2, ")
    assert text.endswith(end)


def handler_that_raises(exc):
    @log.handler
    def handler(_event, _context):
        raise exc

    return handler


def test_a_store_that_is_away_is_reported_with_the_videos_of_the_event():
    handler = handler_that_raises(StoreUnavailable("PostgreSQL: gone"))
    with pytest.raises(StoreUnavailable, match=r"^2 videos failed: 7, 9 \(PostgreSQL: gone\)$"):
        handler({"videos": [7, 9], "execution": EXECUTION}, None)


@pytest.mark.parametrize(
    ("exc", "event"),
    [
        pytest.param(StoreUnavailable("gone"), {}, id="an-event-without-videos"),
        pytest.param(StoreUnavailable("gone"), {"videos": []}, id="an-event-with-an-empty-batch"),
        pytest.param(StoreRefused("gone"), {"videos": [7]}, id="another-error"),
    ],
)
def test_any_other_failure_leaves_the_handler_as_it_was(exc, event):
    with pytest.raises(type(exc)) as caught:
        handler_that_raises(exc)({**event, "execution": EXECUTION}, None)
    assert caught.value is exc


def test_every_log_line_names_the_execution_and_the_request(capsys):
    class Context:
        aws_request_id = "r-1"

    @log.handler
    def handler(event, _context):
        log.warning("unknown", cause="gone")
        return {"seen": event["videos"]}

    assert handler({"videos": [7], "execution": EXECUTION}, Context()) == {"seen": [7]}
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["message"], line["cause"]) == ("WARNING", "unknown", "gone")
    assert (line["execution"], line["function_request_id"]) == ("one", "r-1")
