"""Making recorded decisions again."""

import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import fields

from ops.errors import Exit, OpsError
from video_reclaim.records import Malformed, from_builtins
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Decision

OF_0_1_0 = (
    "A record of version 0.1.0 can't be replayed: the scaling rule has changed since, so the same inputs may give "
    "another answer. Replay it in a checkout of version 0.1.0: `python -m simulation.replay FILE`."
)


def read_decisions(text: str) -> list[Decision]:
    """Return every decision in a text: one JSON document, or lines that each end in one.

    A decision may lie at any depth, also inside JSON that is itself a string, as in what DescribeExecution
    answers.

    Raises:
        OpsError: a record can't be read; the message names the field. One of version 0.1.0 is refused: the
            scaling rule has changed since (docs/decisions/0017).
    """
    try:
        found = list(_find(json.loads(text)))
    except ValueError:
        found = [record for line in text.splitlines() for record in _find(line[max(line.find("{"), 0) :])]
    if any(_is_of_0_1_0(record) for record in found):
        raise OpsError(OF_0_1_0, Exit.NOT_DONE)
    try:
        return [from_builtins(record, Decision, strict=False) for record in found]
    except Malformed as exc:
        raise OpsError(f"The record can't be read: {exc}", Exit.NOT_DONE) from exc


def _is_of_0_1_0(record: dict[str, Any]) -> bool:
    """Tell whether a record has the form of version 0.1.0, which also kept the window of the queue."""
    inputs = record["inputs"]
    return isinstance(inputs, dict) and "queueWindow" in inputs


def _find(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return
    if isinstance(value, list):
        for item in value:
            yield from _find(item)
    elif isinstance(value, dict):
        if "inputs" in value and "desired" in value:
            yield value
            return
        for item in value.values():
            yield from _find(item)


def differences(recorded: Decision) -> tuple[Decision, list[str]]:
    """Decide again; return the new decision and the names of the fields in which it differs."""
    again = decide(recorded.inputs)
    names = [field.name for field in fields(Decision)]
    return again, [name for name in names if getattr(again, name) != getattr(recorded, name)]
