"""The product's own values in Redis, which are JSON. One that this product can't have written counts as absent."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from video_reclaim.conversion import Malformed, from_json
from video_reclaim.rules.sightings import Sighting

T = TypeVar("T")

_LONGEST_ID = 19  # digits of a bigint


def write(value: object) -> bytes:
    """Write a value."""
    return msgspec.json.encode(value)


def parse(value: bytes | None, kind: type[T]) -> T | None:
    """Read what `write` wrote."""
    try:
        return from_json(value or b"", kind)
    except Malformed:
        return None


def parse_sightings(fields: Mapping[bytes, bytes | None]) -> dict[int, Sighting]:
    """Read a hash of sightings by video id; other fields are ignored."""
    ids = (int(name) for name in fields if name.isdigit() and len(name) <= _LONGEST_ID)
    sightings = ((video_id, parse(fields[b"%d" % video_id], Sighting)) for video_id in ids)
    return {video_id: sighting for video_id, sighting in sightings if sighting is not None}
