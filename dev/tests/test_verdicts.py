"""Each rule finds what breaks it, and nothing else."""

from dataclasses import replace

import pytest

from dev.chaos import deliveries, product, resends, silence, verdicts
from dev.chaos.history import Event
from dev.tests.histories import (
    BODY,
    CLEARED,
    DONE,
    EMPTY_QUEUE,
    HANDED,
    NOW,
    QUARANTINE_PREFIX,
    STUCK,
    TAKEN,
    WAITING,
    WORKED_ON,
    accepted,
    began,
    call,
    case_of,
    ended,
    invocation,
    judged,
    mget,
    row_of,
    step,
    write,
)

PTTL = ("PTTL", "tenant:1:video:1:cancel_requested")


@pytest.mark.parametrize(
    ("rule", "events"),
    [
        (verdicts.only_its_columns, [write(NOW, WORKED_ON, replace(HANDED, rest='{"updated_at": 1}'))]),
        (verdicts.only_its_columns, [write(NOW, STUCK, replace(HANDED, processing_started_at=None))]),
        (verdicts.only_its_columns, [write(NOW, WORKED_ON, None)]),
        (verdicts.known_steps, [write(NOW, DONE, HANDED)]),
        (verdicts.known_steps, [write(NOW, HANDED, replace(HANDED, leased_by="reclaim:other"))]),
        (verdicts.known_steps, [write(NOW, STUCK, WAITING)]),
        (verdicts.known_steps, [write(NOW, WORKED_ON, replace(WORKED_ON, leased_by="", leased_until=None))]),
        (verdicts.known_steps, [write(NOW, STUCK, replace(WAITING, status="FAILED"))]),
        (silence.reclaimed_with_cause, [write(NOW, WORKED_ON, HANDED)]),
        (deliveries.cleared_after_sending, [TAKEN, CLEARED]),
        (deliveries.cleared_after_sending, [accepted(1000.5), TAKEN, CLEARED]),
        (
            deliveries.sent_once,
            [
                began(1001),
                accepted(1002.0),
                ended(1002.5),
                began(1004, "Enqueue-2"),
                accepted(1005.0, "Enqueue-2"),
            ],
        ),
        (verdicts.one_owner, [write(NOW, WORKED_ON, replace(WORKED_ON, processing_started_at="2"), who="x")]),
        (verdicts.one_owner, [TAKEN, write(1004.0, DONE, WAITING)]),
        (
            verdicts.quarantined_after_reclaims,
            [
                write(
                    NOW,
                    STUCK,
                    replace(WAITING, status="FAILED", error_reason=f"{QUARANTINE_PREFIX}: 2 times"),
                )
            ],
        ),
        (deliveries.messages_complete, [began(1001), accepted(1002.0, body=BODY.replace("+00:00", ""))]),
        (deliveries.messages_complete, [began(1001), accepted(1002.0, body=BODY.replace("file_key", "key"))]),
        (
            deliveries.not_sent_into_a_cancel,
            [
                call(1001, "Enqueue-1", "prepare jobs", "after", commands=[PTTL], answers=[20_001]),
                accepted(1002.0, delay_s=20),
            ],
        ),
        (deliveries.nothing_lost, [accepted(1002.0), CLEARED]),
        (deliveries.nothing_lost, [write(NOW, None, replace(WAITING, leased_by="dead"), who="platform")]),
        (deliveries.nothing_lost, [write(NOW, None, WORKED_ON, who="w")]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_violation_is_found(rule, events):
    assert judged(rule, *events)


@pytest.mark.parametrize("rule", verdicts.RULES, ids=lambda rule: rule.__name__)
def test_a_reclaim_as_it_should_be_breaks_no_rule(rule):
    events = [TAKEN, began(1001.5), accepted(1002.0), CLEARED, ended(1003.5)]
    assert not judged(rule, *events, waiting={1})


SEEN, UNSEEN = ("EXISTS", product.HEARTBEAT_SEEN_KEY), ("EXISTS", "x")


class TestSilence:
    """A video taken under a live lease: strike at 900, read again at 1000, silent in between."""

    HOLDER = "i-0123456789abcdef0"
    CLAIMED = write(800, WAITING, WORKED_ON, who=HOLDER)
    TAKEN = write(1000.5, WORKED_ON, HANDED)

    def listed(self, at, name, rows=(), beats=(), group=None):
        rows = [row_of(1, at), *rows]
        command, answer = mget(*[(row[0], "heartbeat", row[0] in beats or None) for row in rows])
        return (
            *invocation(name, at, at + 0.9),
            call(at + 0.1, name, "list candidates", "after", rows=rows),
            call(at + 0.2, name, "read heartbeats", "before"),
            call(at + 0.3, name, "read heartbeats", "after", commands=[command], answers=[answer]),
            *([call(at + 0.4, name, "read group", "after", answer=group)] if group is not None else []),
        )

    def reclaimed(self, strike=b"900.000 lease", beat=None, seen=SEEN):
        command, answer = mget((1, "heartbeat", beat), (1, "silence", strike))
        name = "read heartbeats and reclaims"
        parameters = {"rows": '{"1": ""}', "holder": "reclaim:t"}
        return (
            *invocation("Reclaim-1", 1000, 1001),
            call(1000.1, "Reclaim-1", "read videos", "after", rows=[row_of(1, 1000.0)]),
            call(1000.2, "Reclaim-1", name, "before"),
            call(1000.3, "Reclaim-1", name, "after", commands=[seen, command], answers=[1, answer]),
            call(1000.4, "Reclaim-1", "lease for handoff", "before", parameters=parameters),
            self.TAKEN,
        )

    def found(self, *events, told=()):
        given = [event for part in events for event in (part if isinstance(part, tuple) else (part,))]
        return judged(silence.reclaimed_with_cause, self.CLAIMED, *given, told=told)

    @pytest.mark.parametrize(
        ("told", "found"),
        [
            pytest.param([], False, id="silent"),
            pytest.param([step(950, "beat")], True, id="heard"),
            pytest.param([step(950, "beat"), step(960, "beatDeleted", "x")], False, id="deleted-by-a-worker"),
            pytest.param([step(940, "beatDeleted"), step(950, "beat")], True, id="heard-after-a-deletion"),
        ],
    )
    def test_a_heartbeat_that_redis_had_contradicts_it(self, told, found):
        events = [self.listed(900, "List-1"), self.listed(998, "List-2"), self.reclaimed()]
        assert bool(self.found(*events, told=told)) is found

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            pytest.param({}, None, id="as-it-should-be"),
            pytest.param({"seen": UNSEEN}, "no mark", id="wrong-redis"),
            pytest.param({"beat": b"1"}, "had a heartbeat", id="heard"),
            pytest.param({"strike": None}, "no strike", id="no-strike"),
            pytest.param({"strike": b"950.000 lease"}, "50.000 s old", id="young"),
        ],
    )
    def test_it_must_be_credible(self, given, found):
        what = self.found(self.listed(900, "List-1"), self.listed(998, "List-2"), self.reclaimed(**given))
        assert bool(what) is bool(found)
        assert not found or found in what[0]

    @pytest.mark.parametrize(
        ("others", "beats", "found"),
        [
            pytest.param(4, (), True, id="none-of-five-is-heard"),
            pytest.param(4, (2,), False, id="one-is-heard"),
            pytest.param(3, (), False, id="four-are-few"),
        ],
    )
    def test_of_many_it_must_last_longer(self, others, beats, found):
        rows = [row_of(2 + number, 998, f"w{number}") for number in range(others)]
        listings = [self.listed(900, "List-1"), self.listed(998, "List-2", rows, beats)]
        what = self.found(*listings, self.reclaimed())
        assert bool(what) is found

    @pytest.mark.parametrize(
        ("group", "told", "found"),
        [
            pytest.param([], [], None, id="gone"),
            pytest.param(None, [], "had not said", id="nobody-asked"),
            pytest.param([HOLDER], [], "had not said", id="it-is-there"),
            pytest.param([], [step(999, "beat", HOLDER)], "had not said", id="it-lived-on"),
        ],
    )
    def test_a_worker_is_gone_when_the_group_says_so(self, group, told, found):
        listing = self.listed(998, "List-1", group=group)
        what = self.found(listing, self.reclaimed(strike=b"998.000 gone lease"), told=told)
        assert bool(what) is bool(found)
        assert not found or found in what[0]


class TestResend:
    """A video that waits since 10, is listed at 998 and taken at 1000."""

    ARRIVED = write(10, None, WAITING, who="platform")
    TAKEN = write(1000.5, WAITING, HANDED)

    def resent(self, *more, since=b"10.000 identity", depth=EMPTY_QUEUE, oldest=None, empty_since=b"900.0"):
        wait = {"commands": [("HMGET", product.WAITING_KEY, "1")], "answers": [[since]]}
        hash_ = {product.QUEUE_EMPTY_FIELD: empty_since} if empty_since else {}
        look = {"commands": [("HGETALL", product.WAITING_KEY)], "answers": [hash_]}
        parameters = {"rows": '{"1": ""}', "holder": "reclaim:t"}
        events = [
            self.ARRIVED,
            *invocation("List-1", 998, 999),
            call(998.1, "List-1", "list candidates", "after", rows=[row_of(1, 998.0)]),
            call(998.2, "List-1", "read heartbeats", "after", **look),
            *([call(998.3, "List-1", "read depth", "after", depth=depth)] if depth else []),
            *([call(998.4, "List-1", "read oldest", "after", answer=oldest)] if oldest else []),
            *invocation("Reclaim-1", 1000, 1001),
            call(1000.1, "Reclaim-1", "read videos", "after", rows=[row_of(1, 1000.0)]),
            call(1000.2, "Reclaim-1", "take waits", "after", **wait),
            call(1000.4, "Reclaim-1", "lease for handoff", "before", parameters=parameters),
            *more,
            self.TAKEN,
        ]
        return judged(resends.resent_with_cause, *events)

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            pytest.param({}, None, id="queue-empty-twice"),
            pytest.param({"empty_since": None}, "one look", id="queue-empty-once"),
            pytest.param({"empty_since": b"997.0"}, "one look", id="looks-too-close"),
            pytest.param({"depth": None}, "depth", id="depth-unknown"),
            pytest.param({"depth": {"visible": "1"}}, "age", id="age-unknown"),
            pytest.param({"depth": {"visible": "1"}, "oldest": 87.0}, None, id="older-than-all"),
            pytest.param({"depth": {"visible": "1"}, "oldest": 89.0}, "89.000 s", id="not-old-enough"),
            pytest.param({"since": None}, "no wait", id="no-wait"),
            pytest.param({"since": b"101.000 identity"}, "899.000 s", id="too-short"),
        ],
    )
    def test_a_message_is_lost_only_on_evidence(self, given, found):
        what = self.resent(**given)
        assert bool(what) is bool(found)
        assert not found or found in what[0]

    @pytest.mark.parametrize(
        ("row", "found"),
        [
            pytest.param(WAITING, False, id="the-same"),
            pytest.param(replace(WAITING, leased_by="x"), True, id="lease"),
            pytest.param(replace(WAITING, rest='{"file_key": "new"}'), True, id="upload"),
        ],
    )
    def test_a_wait_ends_with_a_change(self, row, found):
        assert bool(self.resent(write(500, row, WAITING, who="platform"))) is found


@pytest.mark.parametrize(
    ("video", "reason", "found"),
    [
        pytest.param(2, f"{QUARANTINE_PREFIX}: 6 times", False, id="asked-for"),
        pytest.param(2, "ffmpeg ended with status 1", True, id="not-ours"),
        pytest.param(1, f"{QUARANTINE_PREFIX}: 6 times", True, id="not-asked-for"),
    ],
)
def test_only_what_an_operator_names_is_released(video, reason, found):
    failed = replace(WAITING, status="FAILED", error_reason=reason)
    released = replace(write(1000.5, failed, HANDED), video=video)
    parameters = {"rows": f'{{"{video}": ""}}', "holder": "reclaim:t"}
    events = [
        *invocation("Reclaim-1", 1000, 1001),
        call(1000.4, "Reclaim-1", "lease for handoff", "before", parameters=parameters),
        released,
    ]
    assert bool(judged(resends.released_on_request, *events)) is found
    assert not judged(verdicts.known_steps, *events)


@pytest.mark.parametrize(
    ("row", "given", "found"),
    [
        pytest.param(WAITING, {}, True, id="no-message"),
        pytest.param(WAITING, {"waiting": {1}}, False, id="has-one"),
        pytest.param(replace(WAITING, leased_by="dead"), {}, True, id="with-a-dead-workers-lease"),
        pytest.param(DONE, {}, False, id="done"),
    ],
)
def test_a_lost_message_is_always_a_violation(row, given, found):
    message = accepted(999.0, "platform")
    told = [step(1000, "received", of=message), step(1000.1, "deleted", of=message)]
    events = [message, write(1001.0, WORKED_ON, row, who="platform")]
    case = case_of(*events, told=told, **given)
    assert [violation.rule for violation in verdicts.violations(case)] == ["nothing_lost"] * found


@pytest.mark.parametrize(
    ("steps", "dead", "fate"),
    [
        (["received", "deleted"], False, "was lost by a worker that died before its claim"),
        (["received", "lockFailed", "received"], False, "was lost by a worker that died before its claim"),
        (["received", "deleted", "skipped"], False, "was deleted while cancel_requested was set"),
        (["received", "lockFailed"], True, "is in the dead-letter queue"),
        ([], False, "was lost by a worker that died as it received"),
    ],
)
def test_tells_what_became_of_a_lost_message(steps, dead, fate):
    message = accepted(999.0, "platform")
    told = [step(1000 + n, event, of=message) for n, event in enumerate(steps)]
    events = [message, write(998.0, None, WAITING, who="platform")]
    if dead:
        events.append(Event(1010.0, "dead", {"message": message.details["message"], "body": BODY}))
    assert deliveries.lost(case_of(*events, told=told)) == {f"the last message {fate}": 1}
