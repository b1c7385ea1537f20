"""The texts of the product's own values in Redis. One that cannot be read counts as absent."""

from collections.abc import Mapping

from video_reclaim.rules.sightings import Sighting

_LATEST = 1e15  # as milliseconds a time in the year 33658; also leaves out what is no number
_LOST, _NONE = "lost", "-"
_LONGEST_ID = 19  # digits of a bigint


def write_sighting(sighting: Sighting) -> str:
    """``<since, seconds> <expiry, milliseconds, or -> <digest>``, and ``lost`` where the message is lost."""
    expires = _NONE if sighting.expires_ms is None else str(sighting.expires_ms)
    parts = [f"{sighting.since_s:.3f}", expires, sighting.identity, *([_LOST] if sighting.lost else [])]
    return " ".join(parts)


def parse_sighting(value: bytes | None) -> Sighting | None:
    """Read what `write_sighting` wrote."""
    since, _, rest = (value or b"").decode(errors="replace").partition(" ")
    expires, _, rest = rest.partition(" ")
    identity, _, lost = rest.partition(" ")
    since_s, expires_ms = parse_number(since), parse_number(expires)
    if since_s is None or (expires_ms is None and expires != _NONE):
        return None
    return Sighting(since_s, None if expires_ms is None else int(expires_ms), identity, lost == _LOST)


def parse_sightings(fields: Mapping[bytes, bytes | None]) -> dict[int, Sighting]:
    """Read a hash of sightings by video id; other fields are ignored."""
    ids = (name for name in fields if name.isdigit() and len(name) <= _LONGEST_ID)
    sightings = ((int(name), parse_sighting(fields[name])) for name in ids)
    return {video_id: sighting for video_id, sighting in sightings if sighting is not None}


def parse_number(value: str | bytes | None) -> float | None:
    """Read a number that is not negative."""
    try:
        number = float(value or "")
    except ValueError:  # not written by this product
        return None
    return number if 0 <= number < _LATEST else None
