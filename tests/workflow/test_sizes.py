"""At any size: what states carry, how long the history gets, and what it says when the cap is reached."""

import contextlib
import json
from unittest.mock import patch

import pytest

from tests.workflow.breakages import BREAKAGES, DEFINITION, broken
from tests.workflow.history_events import Course, WrongRoute, attempts, count, most_attempts
from video_reclaim.rules.enqueueing import Sent

LIMIT_BYTES = 210_000
"""AWS allows 262,144 bytes; the rest is a margin."""
IDLE = ("ListStaleVideos", "ReclaimVideos", "PublishBacklog", "WhatIsLeft", "Report")
BUSY = (
    *("ListStaleVideos", "ReclaimVideos", "PublishBacklog"),
    *("WhatIsLeft", "SetDesiredCapacity", "WhatIsLeft"),
)
NINETEEN_DIGITS = 9_000_000_000_000_000_000
CAP = 10_000


def definition_now():
    return json.loads(DEFINITION.read_text())


def largest(history):
    """The most bytes that any state was given, handed on, passed to a function or kept as a variable."""
    sizes = {}
    for event in history:
        for details in event.values():
            if not isinstance(details, dict):
                continue
            variables = details.get("assignedVariables", {})
            carried = [details.get(key, "") for key in ("input", "output", "parameters")]
            for kind, texts in (("payload", carried), ("variables", ["".join(variables.values())])):
                for text in texts:
                    sizes[kind] = max(sizes.get(kind, 0), len(_compact(str(text)).encode()))
    return max(sizes.values())


def _compact(text):
    """JSON without the spaces that the interpreter writes and AWS does not."""
    with contextlib.suppress(ValueError):
        return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    return text


def many(academy, n):
    academy.sql(
        "INSERT INTO video_video (id, session_id, file_key, status, leased_by, leased_until,"
        " processing_started_at, created_at, updated_at)"
        " SELECT %s + n, 1, 'tenants/1/lecture.mp4', 'PROCESSING', 'worker-' || n, now() - interval '1 s',"
        " now() - interval '3 hours', now(), now() FROM generate_series(1, %s) AS n",
        (NINETEEN_DIGITS, n),
    )
    return [NINETEEN_DIGITS + nth for nth in range(1, n + 1)]


def item_outputs(history):
    """The answers of Enqueue as the Map's items hand them on."""
    exits = [event.get("stateExitedEventDetails", {}) for event in history]
    return [details["output"] for details in exits if details.get("name") == "Enqueue"]


@pytest.fixture
def concurrency():
    return 1


@pytest.fixture
def without_sqs(workflow):
    """SQS in two lines: moto would take half a minute to hold ten thousand messages."""
    sent = []

    def send(payload, call):
        def accept(_url, bodies, _delays_s):
            refused = {video: "InternalError" for video in bodies if str(video) in workflow.aws.refused}
            sent.extend(video for video in bodies if video not in refused)
            return Sent(accepted=[video for video in bodies if video not in refused], refused=refused)

        with patch("video_reclaim.adapters.sqs.send", accept):
            return call(payload)

    workflow.around["Enqueue"] = send
    return sent


@pytest.mark.long
def test_ten_thousand_videos_of_which_every_tenth_fails(workflow, academy, without_sqs):
    videos = many(academy, CAP + 7)
    failing = videos[:CAP][::10]
    workflow.aws.refused.update({str(video): "InternalError" for video in failing})

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete")
    assert sorted(without_sqs) == sorted(set(videos[:CAP]) - set(failing))
    assert [len(item) for item in workflow.failed(execution)] == [15] * 66 + [10]
    history = workflow.history(execution)
    assert not any("DataLimitExceeded" in json.dumps(event, default=str) for event in history)
    assert largest(history) < LIMIT_BYTES
    assert max(map(len, item_outputs(history))) < 400, (
        "an item tells how many, and the ids of those that failed"
    )
    listed = next(call.answer for call in workflow.calls if call.function == "ListStaleVideos")
    assert listed["run"]["leftToNextRun"] == 7
    assert workflow.published("VideosFailed") == [len(failing)]


@pytest.mark.parametrize(
    "definition", [broken(BREAKAGES["outputs-carry-whole-videos"])], ids=["whole-videos"]
)
def test_the_check_above_sees_outputs_that_carry_whole_videos(workflow, academy, without_sqs):
    many(academy, 4_000)

    execution = workflow.run()

    assert max(map(len, item_outputs(workflow.history(execution)))) > 400


@pytest.mark.long
def test_ten_thousand_videos_that_all_fail_still_fit(workflow, academy, without_sqs):
    """The largest that any run carries: both the items' reports and the list of the failed hold every id."""
    videos = many(academy, CAP)
    workflow.aws.refused.update(dict.fromkeys(map(str, videos), "InternalError"))

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete")
    assert LIMIT_BYTES / 2 < largest(workflow.history(execution)) < LIMIT_BYTES


def test_a_dry_run_of_very_many_videos_fits(workflow, academy):
    many(academy, CAP)

    execution = workflow.run({"dryRun": True})

    assert execution["status"] == "SUCCEEDED" and execution["record"]["stale"] == {"leaseExpired": CAP}
    assert largest(workflow.history(execution)) < LIMIT_BYTES / 2


def hundred(errors, *, last="RetryFailedVideos"):
    items = {"ReclaimVideos": 100, "RetryFailedVideos": 100}
    return count(definition_now(), Course((*BUSY, last), items, errors))


def test_a_run_of_a_hundred_items_stays_below_five_thousand_events():
    assert hundred({}, last="Report") < 2_000
    assert hundred({"EnqueueAgain": "EnqueueIncomplete"}) < 5_000, "each item's tenth video fails"
    assert hundred({"Enqueue": "QueueUnavailable", "EnqueueAgain": "QueueUnavailable"}) < 5_000
    assert hundred({"Reclaim": "StoreUnavailable", "ReclaimAgain": "StoreUnavailable"}) < 5_000


def test_even_if_every_task_uses_up_all_its_retries_the_execution_can_be_redriven():
    tasks = {
        name: state
        for states in (
            definition_now()["States"],
            *(
                definition_now()["States"][one]["ItemProcessor"]["States"]
                for one in ("ReclaimVideos", "RetryFailedVideos")
            ),
        )
        for name, state in states.items()
        if state["Type"] == "Task"
    }
    course = Course(
        (
            *BUSY,
            "RetryFailedVideos",
            *BUSY[2:],
            "ConfirmSilence",
            *BUSY,
            "RetryFailedVideos",
            *BUSY[2:],
            "Report",
        ),
        {"ReclaimVideos": 100, "RetryFailedVideos": 100},
        attempts={name: most_attempts(state) for name, state in tasks.items()},
    )
    assert count(definition_now(), course) < 24_999


@pytest.mark.parametrize(
    ("states", "course", "events"),
    [
        pytest.param({"A": {"Type": "Pass", "End": True}}, Course(["A"]), 4, id="a-pass-state-has-four"),
        pytest.param({"A": {"Type": "Task", "End": True}}, Course(["A"]), 7, id="a-task-has-seven"),
        pytest.param(
            {"A": {"Type": "Task", "End": True, "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 2}]}},
            Course(["A"], errors={"A": "E"}),
            2 + 1 + 3 * 3,
            id="a-task-that-fails-is-not-exited",
        ),
        pytest.param(
            {
                "A": {"Type": "Task", "Next": "B", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B"}]},
                "B": {"Type": "Pass", "End": True},
            },
            Course(["A", "B"], errors={"A": "E"}),
            2 + (1 + 3 + 1) + 2,
            id="a-caught-error-is-an-exit",
        ),
        pytest.param(
            {
                "A": {
                    "Type": "Map",
                    "End": True,
                    "ItemProcessor": {"StartAt": "B", "States": {"B": {"Type": "Pass", "End": True}}},
                }
            },
            Course(["A"], {"A": 3}),
            2 + 4 + 3 * (2 + 2),
            id="a-map-has-four-and-two-an-item",
        ),
    ],
)
def test_events_are_counted_as_aws_does(states, course, events):
    assert count({"StartAt": "A", "States": states}, course) == events


def test_a_way_that_the_definition_does_not_have_is_refused():
    with pytest.raises(WrongRoute, match="from ReclaimVideos to WhatIsLeft"):
        count(
            definition_now(), Course(("ListStaleVideos", "ReclaimVideos", "WhatIsLeft"), {"ReclaimVideos": 0})
        )


def test_a_task_without_a_matching_retrier_is_tried_once():
    task = {"Retry": [{"ErrorEquals": ["A"], "MaxAttempts": 2}, {"ErrorEquals": ["B"]}]}

    assert [attempts(task, error) for error in "ABC"] == [3, 4, 1]
    assert most_attempts(task) == 1 + 2 + 3


def test_the_count_is_what_the_interpreter_writes_for_an_idle_run(workflow, academy):
    assert (
        len(workflow.history(workflow.run()))
        == count(definition_now(), Course(IDLE, {"ReclaimVideos": 0}))
        == 20
    )


def test_the_count_is_what_the_interpreter_writes_for_a_busy_run(workflow, academy):
    for _ in range(3):
        academy.add(until=-5)

    history = workflow.history(workflow.run())

    assert len(history) == count(definition_now(), Course((*BUSY, "Report"), {"ReclaimVideos": 3}))


def test_the_count_is_what_the_interpreter_writes_for_a_run_that_fails(workflow, academy):
    for _ in range(3):
        academy.add(until=-5)
    workflow.sqs.delete_queue(QueueUrl=workflow.queue.url)

    history = workflow.history(workflow.run())

    errors = {"Enqueue": "QueueUnavailable", "EnqueueAgain": "QueueUnavailable"}
    # One at a time: the second Map ends at its first item.
    course = Course((*BUSY, "RetryFailedVideos"), {"ReclaimVideos": 3, "RetryFailedVideos": 1}, errors)
    assert len(history) == count(definition_now(), course)
