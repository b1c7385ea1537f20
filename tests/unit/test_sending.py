"""Messages are sent in several calls side by side; each call counts by its own answer."""

import threading
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from video_reclaim import aws
from video_reclaim.adapters import sqs
from video_reclaim.rules.waiting import Depth

LIMIT_S = 30


class Sqs:
    """An SQS whose calls wait and fail as a test says, by the first video of the call."""

    def __init__(self):
        self.started, self.failing, self.refused, self.unanswered = [], set(), set(), set()
        self.repeated, self.failure = set(), EndpointConnectionError(endpoint_url="https://queue")
        self.before_call = lambda _first: None

    def send_message_batch(self, *, QueueUrl, Entries):
        ids = [int(entry["Id"]) for entry in Entries]
        self.started.append(ids[0])
        self.before_call(ids[0])
        if ids[0] in self.failing:
            raise self.failure
        return {
            "Successful": [{"Id": str(v)} for v in ids if v not in self.refused | self.unanswered],
            "Failed": [{"Id": str(v), "Code": "InternalError"} for v in ids if v in self.refused],
            "ResponseMetadata": {"RetryAttempts": int(ids[0] in self.repeated)},
        }


@pytest.fixture
def queue(monkeypatch):
    queue = Sqs()
    monkeypatch.setattr(sqs, "aws", SimpleNamespace(client=lambda _service: queue, describe=aws.describe))
    return queue


def send(count):
    return sqs.send("https://queue", {video: {"video_id": video} for video in range(count)})


def test_nothing_to_send_calls_nothing(queue):
    sent = send(0)
    assert (sent.accepted, sent.not_sent, queue.started) == ([], [], [])


def test_messages_of_a_call_that_was_made_twice_are_named(queue):
    queue.repeated, queue.refused = {10}, {12}
    assert send(30).repeated == [10, 11, *range(13, 20)]


@pytest.mark.parametrize(
    ("status", "code", "attempts_before", "definite"),
    [
        pytest.param(403, "AccessDenied", 0, True, id="denied"),
        pytest.param(403, "AccessDenied", 1, False, id="denied-after-a-call-whose-end-is-unknown"),
        pytest.param(400, "RequestThrottled", 0, False, id="throttling-passes"),
        pytest.param(500, "InternalError", 0, False, id="failed"),
    ],
)
def test_only_a_refusal_of_the_only_call_is_definite(queue, status, code, attempts_before, definite):
    about = {"HTTPStatusCode": status, "RetryAttempts": attempts_before}
    queue.failing = {0}
    queue.failure = ClientError({"Error": {"Code": code}, "ResponseMetadata": about}, "SendMessageBatch")
    sent = send(3)
    assert (sent.not_sent, sent.definite) == ([0, 1, 2], definite)


def test_a_failure_is_definite_only_if_every_call_that_failed_was_refused(queue):
    about = {"HTTPStatusCode": 403, "RetryAttempts": 0}
    refusal = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": about}, "SendMessageBatch")
    failures, both = {0: refusal, 10: queue.failure}, threading.Barrier(2)

    def before_call(first):
        both.wait(LIMIT_S)
        raise failures[first]

    queue.before_call = before_call
    assert not send(20).definite


def test_calls_overlap(queue):
    together = threading.Barrier(3)
    queue.before_call = lambda _first: together.wait(LIMIT_S)  # broken unless three calls wait at a time
    assert send(30).accepted == list(range(30))


def test_never_more_calls_at_a_time_than_connections(queue):
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def before_call(_first):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == sqs._CALLS_AT_ONCE:
                full.set()
        full.wait(LIMIT_S)
        with lock:
            running -= 1

    queue.before_call = before_call
    assert len(send(200).accepted) == 200
    assert most == sqs._CALLS_AT_ONCE <= 10  # botocore keeps ten connections


def test_refused_and_unanswered_messages_are_named(queue):
    queue.refused, queue.unanswered = {3, 14}, {15}
    sent = send(20)
    assert sent.refused == {3: "InternalError", 14: "InternalError", 15: "not answered"}
    assert sent.accepted == [v for v in range(20) if v not in sent.refused]
    assert (sent.not_sent, sent.error) == ([], "")


def test_calls_under_way_count_although_one_failed(queue):
    """The first call fails while the second is under way, which is then accepted."""
    both, failed = threading.Barrier(2), threading.Event()
    queue.failing = {0}

    def before_call(first):
        both.wait(LIMIT_S)
        if first == 10:
            failed.wait(LIMIT_S)

    queue.before_call = before_call
    describe, sqs.aws.describe = sqs.aws.describe, lambda exc: (failed.set(), describe(exc))[1]
    sent = send(20)
    assert (sent.accepted, sent.not_sent) == (list(range(10, 20)), list(range(10)))
    assert "https://queue" in sent.error


def test_no_call_starts_after_one_has_failed(queue):
    queue.failing = {0, 10, 20, 30, 40}
    gate = threading.Barrier(sqs._CALLS_AT_ONCE)
    queue.before_call = lambda _first: gate.wait(LIMIT_S)
    sent = send(100)
    assert sorted(queue.started) == [0, 10, 20, 30, 40]
    assert (sent.accepted, sent.not_sent) == ([], list(range(100)))


def test_after_the_time_limit_only_the_first_call_is_made(queue, monkeypatch):
    monkeypatch.setattr(sqs, "_TIME_LIMIT_S", -1)
    sent = send(100)
    assert (queue.started, sent.accepted, sent.not_sent) == ([0], list(range(10)), list(range(10, 100)))
    assert "slow" in sent.error


def test_an_unforeseen_error_is_raised(queue):
    def before_call(first):
        if first == 10:
            raise RuntimeError("unforeseen")

    queue.before_call = before_call
    with pytest.raises(RuntimeError, match="unforeseen"):
        send(30)


def test_messages_are_delayed_each_by_its_own_time_and_by_no_more_than_sqs_allows(queue, monkeypatch):
    given = {}

    def send_message_batch(*, QueueUrl, Entries):
        given.update({entry["Id"]: entry["DelaySeconds"] for entry in Entries})
        return {"Successful": Entries, "ResponseMetadata": {"RetryAttempts": 0}}

    monkeypatch.setattr(queue, "send_message_batch", send_message_batch)
    sqs.send("https://queue", {video: {} for video in (1, 2, 3, 4)}, {2: 250, 3: 900, 4: 1_200})
    assert given == {"1": 0, "2": 250, "3": 900, "4": 900}


@pytest.mark.parametrize(
    ("call_s", "started"),
    [
        pytest.param(9, [0, 10, 20], id="three-calls-start-within-the-limit"),
        pytest.param(21, [0], id="the-first-call-takes-longer-than-the-limit"),
    ],
)
def test_no_call_starts_later_than_20_s_after_the_first(queue, monkeypatch, call_s, started):
    now_s = [1_000.0]

    def before_call(_first):
        now_s[0] += call_s

    queue.before_call = before_call
    monkeypatch.setattr(sqs, "_CALLS_AT_ONCE", 1)
    monkeypatch.setattr(sqs, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    sent = send(60)
    assert queue.started == started
    assert sent.not_sent == list(range(10 * len(started), 60))


class TestDepth:
    COUNTS = ("", "NotVisible", "Delayed")

    @pytest.fixture
    def holding(self, queue, monkeypatch):
        """Let queues hold messages: visible, in flight, delayed."""

        def hold(**counts):
            def get_queue_attributes(*, QueueUrl, AttributeNames):
                found = zip(self.COUNTS, counts[QueueUrl], strict=True)
                known = {f"ApproximateNumberOfMessages{kind}": str(count) for kind, count in found}
                return {"Attributes": {name: known[name] for name in AttributeNames if known[name] != "None"}}

            monkeypatch.setattr(queue, "get_queue_attributes", get_queue_attributes, raising=False)

        return hold

    def test_the_counts_of_several_queues_add_up_kind_by_kind(self, holding):
        holding(one=(1, 20, 300), two=(4_000, 50_000, 600_000))
        assert sqs.read_depth(["one", "two"]) == Depth(4_001, 50_020, 600_300)
        assert sqs.read_depth(["one"]) == Depth(1, 20, 300)
        assert sqs.read_depth([]) == Depth(0, 0, 0)

    def test_a_count_that_is_not_told_makes_the_depth_unknown(self, holding):
        holding(one=(1, 0, 0), two=(1, None, 0))
        assert sqs.read_depth(["one", "two"]) is None
