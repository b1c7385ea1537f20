"""A second message for a video has a cause that the judge and the documents know, or it is a violation."""

import re
from pathlib import Path

import pytest

from dev.chaos import deliveries, duplicates, product
from dev.chaos.causes import Cause
from dev.tests.histories import (
    EMPTY_QUEUE,
    HANDED,
    QUARANTINED,
    STUCK,
    TAKEN,
    WAITING,
    accepted,
    began,
    call,
    case_of,
    deleted,
    ended,
    invocation,
    row_of,
    step,
    write,
)

DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"
USERS = accepted(1000.0, "platform")
OURS = accepted(1002.0)
AGAIN = accepted(1005.0, "Enqueue-2")
RENEWED = write(1004.5, HANDED, HANDED)
BEGUN = (began(1001), began(1004, "Enqueue-2"))
CLAIMED = write(1000.6, WAITING, STUCK, who="w")
CARRIED = (
    call(1001.6, "Enqueue-1", "read handoffs", "before"),
    call(1001.7, "Enqueue-1", "read handoffs", "after", rows=[(1,)]),
)


def clearings(*rows, last=()):
    """The calls of an invocation that tries to clear its handoffs, and finds these rows uncleared each time."""
    found = [call(1002.1, "Enqueue-1", "clear handoffs", "after", rows=[])]
    for number, left in enumerate(rows):
        found.append(call(1002.2 + number / 10, "Enqueue-1", "read uncleared", "after", rows=left))
        cleared = last if number == len(rows) - 1 else []
        found.append(call(1002.25 + number / 10, "Enqueue-1", "clear handoffs", "after", rows=cleared))
    return found


MINE, OTHERS = [(1,)], [(2,)]
LOCKED = [MINE] * (product.CLEARINGS - 1)


def cause_of(*events, told=()):
    """Return the cause of the last message, as the judge names it; '' if it is no duplicate."""
    case = case_of(*BEGUN, *events, told=told)
    last = max((event for event in events if getattr(event, "kind", "") == "accepted"), key=lambda e: e.at)
    found = [cause for _, second, cause in duplicates._duplicates(case) if second is last]
    assert len(list(duplicates.duplicates_have_cause(case))) >= found.count(None)
    return found[0] if found else ""


def test_the_documented_causes_are_those_that_the_rules_accept():
    section = DOCUMENT.read_text().partition("## Second messages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE)[1:]
    assert rows == [str(cause) for cause in Cause]


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        pytest.param([OURS, accepted(1005.0, "platform")], Cause.USER, id="user"),
        pytest.param([OURS, accepted(1005.0, "worker")], Cause.REQUEUE, id="requeue"),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["the function dies after a send"]), RENEWED, AGAIN],
            Cause.CRASH,
            id="crash",
        ),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["the function's answer is lost"]), RENEWED, AGAIN],
            Cause.LOST_BY_FUNCTION,
            id="lost-answer",
        ),
        pytest.param([TAKEN, OURS, ended(1004.2), AGAIN], Cause.LOST_BY_FUNCTION, id="overlap"),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["SQS answer lost"]), RENEWED, AGAIN],
            Cause.LOST_BY_SQS,
            id="lost-by-sqs",
        ),
        pytest.param(
            [TAKEN, OURS, call(1001.9, "Enqueue-1", "send", "before", videos=[1]), accepted(1002.5)],
            Cause.LOST_BY_SQS,
            id="boto3-sends-again",
        ),
        pytest.param(
            [TAKEN, OURS, ended(1003, error="StoreUnavailable"), RENEWED, AGAIN],
            Cause.FAILED_CALL,
            id="failed-call",
        ),
        pytest.param(
            [
                TAKEN,
                OURS,
                ended(1003, error="StoreUnavailable", faults=["PostgreSQL's connection is cut after x"]),
                RENEWED,
                AGAIN,
            ],
            Cause.LOST_BY_POSTGRES,
            id="lost-by-postgres",
        ),
        *[
            pytest.param([TAKEN, OURS, *tried, ended(1003), RENEWED, AGAIN], cause, id=id_)
            for tried, cause, id_ in [
                (clearings(*LOCKED), Cause.LOCKED_ROW, "locked"),
                (clearings(*LOCKED[1:]), None, "locked-and-given-up-early"),
                (clearings(*LOCKED[1:], OTHERS), None, "another-is-locked"),
                (clearings(*LOCKED, last=MINE), None, "cleared-at-last"),
            ]
        ],
        pytest.param([TAKEN, OURS, ended(1003), RENEWED, AGAIN], None, id="no-fault"),
        pytest.param(
            [TAKEN, OURS, ended(1003, faults=["the function stalls before a send"]), RENEWED, AGAIN],
            None,
            id="a-fault-that-explains-nothing",
        ),
    ],
)
def test_one_handoff_sends_twice(events, cause):
    assert cause_of(*events) == cause
    case = case_of(*BEGUN, *events)
    assert bool(list(deliveries.sent_once(case))) is (cause is None)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        pytest.param(HANDED, Cause.DURING_HANDOFF, id="the-row-still-carries-the-handoff"),
        pytest.param(WAITING, None, id="the-handoff-was-over"),
    ],
)
@pytest.mark.parametrize("sender", ["platform", "worker"])
def test_somebody_sends_during_a_handoff(row, cause, sender):
    retried = write(1001.2, HANDED, row, who="platform")
    assert cause_of(TAKEN, retried, accepted(1001.3, sender), *CARRIED, OURS) == cause


@pytest.mark.parametrize(
    ("steps", "more", "cause"),
    [
        pytest.param([step(1000.5, "received", of=USERS)], [], Cause.OLDER_PATH, id="still-has-its-message"),
        pytest.param(
            [step(1000.5, "received", of=USERS), step(1002.5, "claimed", of=USERS)],
            [deleted(1000.55, USERS)],
            None,
            id="had-deleted-it",
        ),
        pytest.param(
            [step(1000.5, "received", of=accepted(999.0, "platform"))],
            [],
            Cause.ANOTHER_MESSAGE,
            id="another",
        ),
        pytest.param([], [], None, id="nobody-knows-with-which"),
    ],
)
def test_a_reclaim_while_a_message_is_out(steps, more, cause):
    """The video was claimed at 1000.6 and taken at 1001; the user's message of 1000 is out."""
    assert cause_of(USERS, CLAIMED, TAKEN, OURS, *more, told=steps) == cause


def test_a_reclaim_of_what_nobody_claimed_has_no_cause():
    assert cause_of(USERS, TAKEN, OURS) is None


def test_a_message_that_is_gone_is_not_out():
    assert cause_of(USERS, TAKEN, OURS, deleted(1000.5, USERS)) == ""


@pytest.mark.parametrize(
    ("received", "cause"),
    [
        pytest.param(accepted(999.0, "platform"), Cause.ANOTHER_MESSAGE, id="claimed-with-another"),
        pytest.param(None, None, id="claimed-with-none"),
    ],
)
def test_a_release_is_explained_as_the_quarantine_is(received, cause):
    told = [step(1000.5, "received", of=received)] if received else []
    quarantined = write(1000.8, STUCK, QUARANTINED)
    assert cause_of(USERS, CLAIMED, quarantined, write(1001.0, QUARANTINED, HANDED), OURS, told=told) == cause


class TestResend:
    """A video that waits is listed at 1000 and taken at 1001; the queue was empty at 900 already."""

    TAKEN = write(1001.0, WAITING, HANDED)

    def cause(self, first, *more, told=(), empty=True):
        parameters = {"rows": '{"1": ""}', "holder": "reclaim:t"}
        hash_ = {product.QUEUE_EMPTY_FIELD: b"900.0"} if empty else {}
        look = {"commands": [("HGETALL", product.WAITING_KEY)], "answers": [hash_]}
        events = [
            *invocation("List-1", 900, 900.5),
            call(900.1, "List-1", "list candidates", "after", rows=[row_of(1, 900.0)]),
            call(900.3, "List-1", "read depth", "after", depth=EMPTY_QUEUE),
            *invocation("List-2", 1000, 1000.5),
            call(1000.1, "List-2", "list candidates", "after", rows=[row_of(1, 1000.0)]),
            call(1000.2, "List-2", "read heartbeats", "after", **look),
            call(1000.3, "List-2", "read depth", "after", depth=EMPTY_QUEUE),
            *invocation("Reclaim-1", 1000.6, 1001.1),
            call(1000.8, "Reclaim-1", "take waits", "before"),
            call(1000.9, "Reclaim-1", "lease for handoff", "before", parameters=parameters),
            self.TAKEN,
            OURS,
        ]
        return cause_of(first, *more, *events, told=told)

    @pytest.mark.parametrize(
        ("first", "cause"),
        [
            pytest.param(accepted(1000.85, "platform"), Cause.RETRY_DURING_RESEND, id="after-the-last-look"),
            pytest.param(accepted(1000.7, "platform"), None, id="a-retry-that-could-be-seen"),
            pytest.param(accepted(1000.85, "worker"), None, id="a-worker"),
            pytest.param(accepted(800.0, "platform"), None, id="in-the-queue-all-the-time"),
        ],
    )
    def test_a_message_is_sent_meanwhile(self, first, cause):
        assert self.cause(first) == cause

    @pytest.mark.parametrize(
        ("deleted_at", "empty", "cause"),
        [
            pytest.param(899.0, True, Cause.PAUSED_WORKER, id="before-the-first-look"),
            pytest.param(950.0, True, None, id="between-the-looks"),
            pytest.param(459.0, False, Cause.PAUSED_WORKER, id="ten-minutes-before-the-only-look"),
            pytest.param(462.0, False, None, id="when-its-age-was-still-seen"),
        ],
    )
    def test_a_worker_pauses_before_its_claim(self, deleted_at, empty, cause):
        first = accepted(100.0, "platform")
        told = [step(1003.0, "claimed", of=first)]
        assert self.cause(first, deleted(deleted_at, first), told=told, empty=empty) == cause


def test_all_are_counted():
    events = [TAKEN, OURS, ended(1003, faults=["the function dies after a send"]), RENEWED, AGAIN]
    assert duplicates.duplicates(case_of(*BEGUN, *events)) == {"a function crashed after sending": 1}
    violated = duplicates.duplicates_have_cause(case_of(*BEGUN, TAKEN, OURS, ended(1003), AGAIN))
    assert [violation.rule for violation in violated] == ["duplicates_have_cause"]


def test_the_earlier_duplicate_is_another_message():
    """Ours of 1000.5 is out; the video was claimed with the user's."""
    told = [step(1000.55, "received", of=USERS)]
    events = [USERS, accepted(1000.5), CLAIMED, TAKEN, AGAIN]
    assert cause_of(*events, told=told) == Cause.ANOTHER_MESSAGE
