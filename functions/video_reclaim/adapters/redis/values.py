"""The texts of the product's own values in Redis. One that cannot be read counts as absent."""

from collections.abc import Iterable, Iterator, Mapping

from video_reclaim.rules.sightings import Sighting

_LATEST = 1e12  # a time in the year 33658; also leaves out what is no number
_NONE = "-"
_LONGEST_ID = 19  # digits of a bigint


def write_sighting(sighting: Sighting) -> str:
    """``<since> <expiry, or -> <digest>``, times in seconds."""
    expires = _NONE if sighting.expires_s is None else f"{sighting.expires_s:.3f}"
    return f"{sighting.since_s:.3f} {expires} {sighting.identity}"


def parse_sighting(value: bytes | None) -> Sighting | None:
    """Read what `write_sighting` wrote."""
    since, _, rest = (value or b"").decode(errors="replace").partition(" ")
    expires, _, identity = rest.partition(" ")
    since_s, expires_s = parse_number(since), parse_number(expires)
    if since_s is None or (expires_s is None and expires != _NONE):
        return None
    return Sighting(since_s, expires_s, identity)


def parse_sightings(fields: Mapping[bytes, bytes | None]) -> dict[int, Sighting]:
    """Read a hash of sightings by video id; other fields are ignored."""
    sightings = ((video_id, parse_sighting(fields[b"%d" % video_id])) for video_id in _ids(fields))
    return {video_id: sighting for video_id, sighting in sightings if sighting is not None}


def parse_ids(value: bytes | None) -> frozenset[int]:
    """Read ids that are separated by spaces."""
    return frozenset(_ids((value or b"").split()))


def _ids(names: Iterable[bytes]) -> Iterator[int]:
    return (int(name) for name in names if name.isdigit() and len(name) <= _LONGEST_ID)


def parse_number(value: str | bytes | None) -> float | None:
    """Read a number that is not negative."""
    try:
        number = float(value or "")
    except ValueError:  # not written by this product
        return None
    return number if 0 <= number < _LATEST else None
