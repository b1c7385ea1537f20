"""Corrections of CloudWatch Logs: filter patterns for JSON."""

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch_logs

Matcher = Callable[[str], bool]

_CONDITION = re.compile(r'\s*\$\.(\w+)\s*=\s*("[^"]*"|-?\d+(?:\.\d+)?)\s*')


def match_json_patterns() -> None:
    """Compare fields of JSON lines in patterns such as ``{ $.video = 12 || $.message = "decided" }``.

    On AWS such a pattern matches the lines that are JSON and whose fields have these values ("Filter pattern syntax",
    CloudWatch Logs User Guide). Ministack matches every line. Here only equality is compared, of fields at the top,
    joined by ``&&`` or by ``||``; another pattern raises ValueError, so that no test passes by accident.
    """
    compile_pattern = cloudwatch_logs._compile_filter_pattern

    def compile_json_pattern(pattern: str) -> Matcher:
        if not pattern.strip().startswith("{"):
            matcher: Matcher = compile_pattern(pattern)
            return matcher
        return _json_matcher(pattern.strip())

    cloudwatch_logs._compile_filter_pattern = compile_json_pattern


def _json_matcher(pattern: str) -> Matcher:
    text = pattern.removeprefix("{").removesuffix("}")
    combine = any if "||" in text else all
    found = [_CONDITION.fullmatch(part) for part in re.split(r"\|\||&&", text)]
    if not pattern.endswith("}") or ("||" in text and "&&" in text) or not all(found):
        raise ValueError(f"this emulator can't match the filter pattern {pattern}")
    wanted = [(condition[1], json.loads(condition[2])) for condition in found if condition]

    def matches(message: str) -> bool:
        try:
            line: Any = json.loads(message)
        except ValueError:
            return False
        return isinstance(line, dict) and combine(line.get(name) == value for name, value in wanted)

    return matches
