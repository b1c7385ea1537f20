"""Conversion between JSON and the typed records, with errors that name the field."""

import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Malformed(ValueError):
    """A value does not fit its record: a field, such as ``decision.inputs.at``, or '' for the whole, and why."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field, self.problem = field, problem


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read a record from JSON text. Raises Malformed if it is no JSON, or a field does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise Malformed("", "is nested too deeply") from None
    except UnicodeError:
        raise Malformed("", "is not valid Unicode") from None
    except msgspec.ValidationError as exc:
        raise _malformed(exc) from exc
    except msgspec.DecodeError as exc:
        raise Malformed("", f"is not JSON ({exc})") from exc


def from_builtins(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Read a record from dicts and lists; unless ``strict``, a number may be a text, and ``12.0`` stand for ``12``.

    Raises:
        Malformed: a field is missing, unknown, of the wrong type or out of range.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        raise _malformed(exc) from exc


def to_builtins(record: object) -> dict[str, Any]:
    """Write a record as dicts and lists that ``json.dumps`` accepts."""
    written: dict[str, Any] = msgspec.to_builtins(record)
    return written


def _malformed(exc: msgspec.ValidationError) -> Malformed:
    problem, _, path = str(exc).partition(" - at `")
    path = path.rpartition("`$")[2] if "`$" in path else path.removeprefix("$")
    path = path.rstrip("`").lstrip(".")
    named = re.search(r"(?:unknown|required) field `(.+)`", problem)
    field = ".".join(part for part in (path, named[1] if named else "") if part)
    if "unknown field" in problem:
        problem = "is not a field of this record"
    elif "required field" in problem:
        problem = "is missing"
    return Malformed(field, problem)
