"""``python -m dev.simulation.replay FILE|-``: make a recorded decision again.

Takes whatever holds a decision record: a log line or a file of them, a Lambda's answer, an execution's output
or what DescribeExecution says of it. The record, usually the value of a key ``decision``, may lie at any
depth, also inside JSON that is itself a string.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_reclaim.records import Malformed, from_builtins, to_builtins
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Inputs

KEYS = ("action", "desired", "reason", "held")


def find_records(value: object) -> Iterator[dict[str, Any]]:
    """Give every decision record inside a piece of JSON, in order."""
    if isinstance(value, str):
        if value.lstrip()[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except ValueError:
                return
            yield from find_records(inner)
    elif isinstance(value, list):
        for item in value:
            yield from find_records(item)
    elif isinstance(value, dict):
        if "inputs" in value and "desired" in value:
            yield value
            return
        for item in value.values():
            yield from find_records(item)


def read_records(text: str) -> list[dict[str, Any]]:
    """Give every decision record in a text: one JSON document, or lines that each end in one."""
    try:
        return list(find_records(json.loads(text)))
    except ValueError:
        pass
    records: list[dict[str, Any]] = []
    for line in text.splitlines():
        start = line.find("{")
        if start >= 0:
            try:
                records += find_records(json.loads(line[start:]))
            except ValueError:
                continue
    return records


def differences(record: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Decide again upon a record's inputs.

    Returns:
        The new decision's record, and the names of the fields in which it differs.

    Raises:
        Malformed: The record's inputs cannot be read; the message names the field.
    """
    again = to_builtins(decide(from_builtins(record["inputs"], Inputs, strict=False)))
    return again, [key for key in KEYS if key not in record or record[key] != again[key]]


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0: the same answer; 1: another one; 2: no record, or one that cannot be read.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m dev.simulation.replay FILE|-", file=sys.stderr)
        return 2
    try:
        text = sys.stdin.read() if arguments[0] == "-" else Path(arguments[0]).read_text(encoding="utf-8")
    except OSError as exc:
        print(f"cannot read {arguments[0]}: {exc.strerror}", file=sys.stderr)
        return 2
    records = read_records(text)
    if not records:
        print("no decision record found: a JSON object with inputs and desired", file=sys.stderr)
        return 2
    code = 0
    for record in records:
        try:
            again, differing = differences(record)
        except Malformed as exc:
            print(f"the record cannot be read: {exc}", file=sys.stderr)
            return 2
        print(f"{again['inputs']['at']}  {again['action']}, desired {again['desired']}: {again['reason']}")
        for key in differing:
            print(f"  DIFFERS {key}: recorded {record.get(key)!r}, now {again[key]!r}")
        if differing:
            code = 1
        else:
            print("  Replayed: the same answer.")
    return code


if __name__ == "__main__":
    sys.exit(main())
