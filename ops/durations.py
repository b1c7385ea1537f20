"""Durations and times: how operators write them, and how they are shown."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LONGEST = timedelta(days=366)


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``2h``, ``90m``, ``1h30m`` or ``7d``.

    Raises:
        ValueError: it is none, it is 0, or it is longer than 366 days.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is not a duration: write for example 2h, 90m, 1h30m or 7d")
    parts = {unit: int(number or 0) for unit, number in zip(_UNITS.values(), found.groups(), strict=True)}
    if any(number > 366 * 86_400 for number in parts.values()) or timedelta(**parts) > _LONGEST:
        raise ValueError(f"{text!r} is longer than 366 days")
    if not timedelta(**parts):
        raise ValueError(f"{text!r} is no time at all")
    return timedelta(**parts)


def show_duration(duration: timedelta) -> str:
    """Write a duration with its two largest units: ``1 h 30 min``; less than a second as ``0.4 s``."""
    seconds = max(duration.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds:.1f} s" if seconds else "0 s"
    sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in sizes.items():
        number, left = divmod(left, size)
        if number or parts:
            parts.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number)


def show_time(at: datetime) -> str:
    """Write a time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
