"""Corrections of CloudWatch Logs: filter patterns for JSON."""

import json
import re
from collections.abc import Callable

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
        if not re.fullmatch(r"{((&&)*|(\|\|)*)}", _CONDITION.sub("", pattern.strip())):
            raise ValueError(f"this emulator can't match the filter pattern {pattern}")
        wanted = [(name, json.loads(value)) for name, value in _CONDITION.findall(pattern)]
        combine = any if "||" in pattern else all

        def matches(message: str) -> bool:
            try:
                line = json.loads(message)
            except ValueError:
                return False
            return isinstance(line, dict) and combine(line.get(name) == value for name, value in wanted)

        return matches

    cloudwatch_logs._compile_filter_pattern = compile_json_pattern
