import pytest

from video_reclaim.adapters.redis.values import (
    parse_ids,
    parse_number,
    parse_sighting,
    parse_sightings,
    write_sighting,
)
from video_reclaim.rules.sightings import Sighting

AT_S, EXPIRES_S = 1_700_000_000.125, 1_700_000_060.25


@pytest.mark.parametrize("expires_s", [None, EXPIRES_S], ids=["no-heartbeat", "with-heartbeat"])
def test_a_sighting_is_read_as_it_was_written(expires_s):
    sighting = Sighting(AT_S, expires_s, "0123456789abcdef")
    assert parse_sighting(write_sighting(sighting).encode()) == sighting


def test_a_sighting_is_written_with_a_time_that_a_person_can_convert():
    assert write_sighting(Sighting(AT_S, EXPIRES_S, "ab")) == "1700000000.125 1700000060.250 ab"
    assert write_sighting(Sighting(AT_S, None, "ab")) == "1700000000.125 - ab"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"1700000000.000 \xff ab",
        b"- - ab",
        b"nan 5 ab",
        b"-1 5 ab",
        b"5 x ab",
        b"9e99 - ab",
    ],
    ids=repr,
)
def test_a_sighting_that_cannot_be_read_counts_as_absent(value):
    assert parse_sighting(value) is None


def test_of_the_hash_only_what_can_be_read_counts():
    fields = {
        b"7": b"5.000 - ab",
        b"looked-at": b"6.000",
        b"8": b"\xff\xfe",
        b"-9": b"5.000 - ab",
        b"\xff": b"5.000 - ab",
        b"": b"5.000 - ab",
        b"1" * 5_000: b"5.000 - ab",
        b"9223372036854775807": b"5.000 - ab",
    }
    assert parse_sightings(fields) == dict.fromkeys((7, 2**63 - 1), Sighting(5.0, None, "ab"))


@pytest.mark.parametrize(
    ("value", "ids"), [(b"7 8", {7, 8}), (b"7 x -1 " + b"1" * 5_000, {7}), (b"", set()), (None, set())]
)
def test_ids(value, ids):
    assert parse_ids(value) == ids


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"5.5", 5.5), (b"0", 0.0), (b"-1", None), (b"inf", None), (b"x", None), (None, None)],
)
def test_a_number(value, number):
    assert parse_number(value) == number
