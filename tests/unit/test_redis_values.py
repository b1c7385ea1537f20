import pytest

from video_reclaim.adapters.redis.values import parse, parse_sightings, write
from video_reclaim.rules.sightings import Sighting

AT_S, EXPIRES_S = 1_700_000_000.125, 1_700_000_060.25


@pytest.mark.parametrize("expires_s", [None, EXPIRES_S], ids=["no-heartbeat", "with-heartbeat"])
def test_a_sighting_is_read_as_it_was_written(expires_s):
    sighting = Sighting(AT_S, expires_s, "0123456789abcdef")
    assert parse(write(sighting), Sighting) == sighting


def test_a_sighting_is_written_with_a_time_that_a_person_can_convert():
    assert write(Sighting(AT_S, EXPIRES_S, "ab")) == b'[1700000000.125,1700000060.25,"ab"]'


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b'[1700000000.0,"\xff","ab"]',
        b'[null,null,"ab"]',
        b'[NaN,5,"ab"]',
        b'[-1,5,"ab"]',
        b'[5,"x","ab"]',
        b'[9e999,null,"ab"]',
        b"[" * 5_000,
    ],
    ids=repr,
)
def test_a_sighting_that_cannot_be_read_counts_as_absent(value):
    assert parse(value, Sighting) is None


def test_of_the_hash_only_what_can_be_read_counts():
    seen = b'[5.0,null,"ab"]'
    fields = {
        b"7": seen,
        b"looked-at": b"6.0",
        b"8": b"\xff\xfe",
        b"-9": seen,
        b"\xff": seen,
        b"": seen,
        b"1" * 5_000: seen,
        b"9223372036854775807": seen,
    }
    assert parse_sightings(fields) == dict.fromkeys((7, 2**63 - 1), Sighting(5.0, None, "ab"))


@pytest.mark.parametrize(
    ("value", "ids"), [(b"[7,8]", {7, 8}), (b"[7,x]", None), (b'["7"]', None), (b"", None)]
)
def test_ids(value, ids):
    assert parse(value, frozenset[int]) == ids
