"""The texts of the product's own values in Redis. One that cannot be read counts as absent."""

from collections.abc import Iterable, Mapping

from video_reclaim.rules.staleness import Strike
from video_reclaim.rules.waiting import Wait

_GONE, _LOST = "gone ", "lost "
_LATEST_S = 1e11  # a time in the year 5138; also leaves out what is no number


def write_strike(strike: Strike) -> str:
    """``<seconds> <lease>``, or ``<seconds> gone <lease>``."""
    return f"{strike.at_s:.3f} {_GONE if strike.gone else ''}{strike.lease}"


def parse_strike(value: bytes | None) -> Strike | None:
    """Read what `write_strike` wrote."""
    at_s, rest = _number_and_text(value)
    if at_s is None:
        return None
    return Strike(at_s, rest.removeprefix(_GONE), gone=rest.startswith(_GONE))


def write_wait(wait: Wait) -> str:
    """``<seconds> <identity>``, or ``<seconds> lost <identity>``."""
    return f"{wait.since_s:.3f} {_LOST if wait.lost else ''}{wait.identity}"


def parse_wait(value: bytes | None) -> Wait | None:
    """Read what `write_wait` wrote."""
    since_s, rest = _number_and_text(value)
    return None if since_s is None else Wait(since_s, rest.removeprefix(_LOST), lost=rest.startswith(_LOST))


def parse_waits(fields: Mapping[bytes, bytes]) -> dict[int, Wait]:
    """Read a hash of waits by video id; other fields are ignored."""
    waits = {int(name): parse_wait(value) for name, value in fields.items() if name.isdigit()}
    return {video_id: wait for video_id, wait in waits.items() if wait is not None}


def parse_number(value: bytes | None) -> float | None:
    """Read a number."""
    return _number_and_text(value)[0]


def parse_counted(members: Iterable[bytes]) -> dict[int, int]:
    """Read members ``tenant:video`` as tenant ids by video id."""
    pairs = (member.partition(b":") for member in members)
    return {int(video): int(tenant) for tenant, _, video in pairs if tenant.isdigit() and video.isdigit()}


def _number_and_text(value: bytes | None) -> tuple[float | None, str]:
    try:
        number, _, text = (value or b"").decode().partition(" ")
        seconds = float(number)
    except ValueError:  # not written by this product; UnicodeDecodeError is one of them
        return None, ""
    return (seconds, text) if 0 <= seconds < _LATEST_S else (None, "")
