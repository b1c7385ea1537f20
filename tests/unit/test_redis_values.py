import pytest

from video_reclaim.adapters.redis.values import (
    parse_counted,
    parse_number,
    parse_strike,
    parse_wait,
    parse_waits,
    write_strike,
    write_wait,
)
from video_reclaim.rules.staleness import Strike
from video_reclaim.rules.waiting import Wait

AT_S = 1_700_000_000.125
LEASE = '(i-0123abcd,"2026-03-02 12:00:07+00","2026-03-02 11:00:07+00")'


@pytest.mark.parametrize(
    "lease", [LEASE, "(,,)", '("größe 1",,)'], ids=["a-lease", "no-lease", "other-letters"]
)
@pytest.mark.parametrize("gone", [False, True], ids=["here", "gone"])
def test_a_strike_is_read_as_it_was_written(lease, gone):
    strike = Strike(AT_S, lease, gone)
    assert parse_strike(write_strike(strike).encode()) == strike


def test_a_strike_is_written_with_a_time_that_a_person_can_convert():
    assert write_strike(Strike(AT_S, "(a)")) == "1700000000.125 (a)"


@pytest.mark.parametrize(
    "identity", [f"{LEASE} 0123456789ab", "(,,) ab"], ids=["with-lease", "without-lease"]
)
def test_a_wait_is_read_as_it_was_written(identity):
    for wait in (Wait(AT_S, identity), Wait(AT_S, identity, lost=True)):
        assert parse_wait(write_wait(wait).encode()) == wait


UNREADABLE = [
    pytest.param(None, id="absent"),
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff\xfe", id="no-text"),
    pytest.param(b"1700000000.000 \xff", id="no-text-after-the-number"),
    pytest.param(b"(,,)", id="no-number"),
    pytest.param(b" 1700000000.000", id="the-number-comes-second"),
]


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize("parse", [parse_strike, parse_wait, parse_number])
def test_a_value_that_cannot_be_read_counts_as_absent(parse, value):
    assert parse(value) is None


def test_a_number_alone_names_no_lease():
    assert parse_strike(b"5.5") == Strike(5.5, "")
    assert parse_wait(b"5.5") == Wait(5.5, "")
    assert parse_number(b"5.5") == 5.5


def test_in_a_hash_of_waits_only_what_can_be_read_counts():
    fields = {
        b"7": b"5.000 (a) b",
        b"queue-empty": b"6.000",
        b"8": b"\xff\xfe",
        b"-9": b"5.000 (a) b",
        b"\xff": b"5.000 (a) b",
        b"": b"5.000 (a) b",
    }
    assert parse_waits(fields) == {7: Wait(5.0, "(a) b")}


def test_the_counted_videos_are_read_by_id():
    assert parse_counted([b"1:7", b"20:8"]) == {7: 1, 8: 20}


@pytest.mark.parametrize(
    "member", [b"", b"7", b":7", b"1:", b"None:7", b"1:x", b"1:7:2", b"\xff:7", b"1:\xff"], ids=repr
)
def test_a_counted_video_that_cannot_be_read_is_ignored(member):
    assert parse_counted([member, b"1:9"]) == {9: 1}
