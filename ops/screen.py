"""What the commands have in common: options, times, and how an answer is printed, as text or as JSON."""

import json
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LONGEST = timedelta(days=366)
_WIDEST = 110  # columns; longer lines are hard to read
TIME = 21  # columns of a time and the space after it


def _duration(text: str | timedelta) -> timedelta:
    if isinstance(text, timedelta):  # the default
        return text
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


Stage = Annotated[str, typer.Option("--stage", help="Name of the stage, or of the construct VideoReclaim.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def duration(name: str, text: str) -> typer.models.OptionInfo:
    """Return an option that takes a duration such as 2h."""
    option: typer.models.OptionInfo = typer.Option(name, parser=_duration, metavar="DURATION", help=text)
    return option


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def answer(data: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print an answer: lines for people, or one JSON object; times in it are ISO 8601, in UTC."""
    for line in [json.dumps(data, default=_plain, ensure_ascii=False)] if as_json else lines:
        print(line, flush=True)


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def wrap(text: str, *, label: str = "", indent: int = 0, most: int = 0) -> list[str]:
    """Break a text into lines of the terminal's width, or of 80 columns where the output is no terminal.

    Words, such as names of executions, stay whole, so that they can be copied. The label stands in the indentation of
    the first line. Of more lines than ``most``, unless that is 0, an ellipsis replaces the rest.
    """
    made = textwrap.wrap(
        text,
        min(shutil.get_terminal_size().columns, _WIDEST),
        initial_indent=label.ljust(indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        max_lines=most or None,
        placeholder=" …",
    )
    return made or [label]


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
    left, parts = round(seconds), list[tuple[int, str]]()
    for unit, size in {"d": 86_400, "h": 3_600, "min": 60, "s": 1}.items():
        number, left = divmod(left, size)
        if number or parts:
            parts.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number)


def show_time(at: datetime) -> str:
    """Write a time in UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
