"""At any size: what states carry, how long the history gets, and how many videos a run takes."""

import contextlib
import json
from unittest.mock import patch

import pytest

from video_reclaim.rules.enqueueing import Sent

LIMIT_BYTES = 210_000
"""AWS allows 262,144 bytes; the rest is a margin."""
LIMIT_EVENTS = 5_000
"""AWS ends an execution at 25,000 events and redrives none that has 24,999 or more ("Step Functions quotas")."""
NINETEEN_DIGITS = 9_000_000_000_000_000_000
CAP = 10_000


def largest(history):
    """The most bytes that any state was given, handed on, passed to a function or kept as a variable."""
    sizes = [0]
    for event in history:
        for details in event.values():
            if isinstance(details, dict):
                carried = [details.get(key, "") for key in ("input", "output", "parameters")]
                carried.append("".join(details.get("assignedVariables", {}).values()))
                sizes += [len(_compact(str(text)).encode()) for text in carried]
    return max(sizes)


def _compact(text):
    """JSON without the spaces that the interpreter writes and AWS does not."""
    with contextlib.suppress(ValueError):
        return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    return text


def many(academy, n):
    academy.sql(
        "INSERT INTO video_video (id, session_id, file_key, status, leased_by, leased_until,"
        " processing_started_at, created_at, updated_at)"
        " SELECT %s + n, 21, 'tenants/1/lecture.mp4', 'PROCESSING', 'worker-' || n, now() - interval '1 s',"
        " now() - interval '3 hours', now(), now() FROM generate_series(1, %s) AS n",
        (NINETEEN_DIGITS, n),
    )
    return [NINETEEN_DIGITS + nth for nth in range(1, n + 1)]


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


def test_ten_thousand_videos_that_all_fail_fit_and_no_more_are_taken(workflow, academy, without_sqs):
    """The largest that any run carries: both the items' reports and the list of the failed hold every id."""
    videos = many(academy, CAP + 7)
    workflow.aws.refused.update(dict.fromkeys(map(str, videos), "InternalError"))

    execution = workflow.run()

    assert (execution["status"], execution["error"]) == ("FAILED", "EnqueueIncomplete")
    assert sorted(video for item in workflow.failed(execution) for video in item) == videos[:CAP]
    history = workflow.history(execution)
    assert LIMIT_BYTES / 2 < largest(history) < LIMIT_BYTES
    # The second Map ended at its first item here. At most it writes as much as the first.
    assert 2 * len(history) < LIMIT_EVENTS
    listed = next(call.answer for call in workflow.calls if call.function == "ListStaleVideos")
    assert listed["run"]["leftToNextRun"] == 7
    assert workflow.published("VideosFailed") == [CAP] and without_sqs == []


def test_items_hand_on_how_many_and_only_the_ids_of_those_that_failed(workflow, academy, without_sqs):
    videos = many(academy, 400)
    workflow.aws.refused.update(dict.fromkeys(map(str, videos[::5]), "InternalError"))

    history = workflow.history(workflow.run())

    exits = [event.get("stateExitedEventDetails", {}) for event in history]
    outputs = [details["output"] for details in exits if details.get("name") == "Enqueue"]
    assert len(outputs) == 40 and max(map(len, outputs)) < 400
    assert sorted(without_sqs) == sorted(set(videos) - set(videos[::5]))


def test_a_dry_run_of_very_many_videos_fits(workflow, academy):
    many(academy, CAP)

    execution = workflow.run({"dryRun": True})

    assert execution["status"] == "SUCCEEDED" and execution["record"]["stale"] == {"leaseExpired": CAP}
    assert largest(workflow.history(execution)) < LIMIT_BYTES / 2
