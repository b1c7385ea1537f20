"""Texts inside a template that have a structure of their own: JSON, and the lines of a query.

`opened` turns them into objects, in which a mistake can be made like in any other, and `closed` back into texts.
"""

import json
from typing import Any

_JSON, _TOKENS, _LINES = "json()", "tokens()", "lines()"
_MARK = "\u2063"
"""Stands around the number of a reference; no template has it."""
HIDDEN = {_JSON, _LINES}


def opened(value: Any) -> Any:  # noqa: ANN401 (CloudFormation's JSON)
    """Return a template whose dashboards, lists of queues and saved queries are objects."""
    if isinstance(value, list):
        return [opened(part) for part in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, part in value.items():
        if key == "QueryString":
            result[key] = {_LINES: part.split("\n")}
        elif key == "DashboardBody" or (isinstance(part, dict) and _is_json(part)):
            result[key] = _parsed(part)
        else:
            result[key] = opened(part)
    return result


def closed(value: Any) -> Any:  # noqa: ANN401 (CloudFormation's JSON)
    """Return a template as CloudFormation reads it."""
    if isinstance(value, list):
        return [closed(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _LINES in value:
        return "\n".join(value[_LINES])
    if _TOKENS in value:
        return _written(value.get(_JSON), value[_TOKENS])
    return {key: closed(part) for key, part in value.items()}


def _is_json(value: dict[str, Any]) -> bool:
    parts = value.get("Fn::Join", ["", []])[1]
    return bool(parts) and isinstance(parts[0], str) and parts[0].startswith('{"')


def _parsed(text: Any) -> dict[str, Any]:  # noqa: ANN401 (a string or a Join)
    parts = [text] if isinstance(text, str) else text["Fn::Join"][1]
    tokens = [part for part in parts if not isinstance(part, str)]
    numbers = iter(range(len(tokens)))
    joined = "".join(part if isinstance(part, str) else f"{_MARK}{next(numbers)}{_MARK}" for part in parts)
    return {_JSON: json.loads(joined), _TOKENS: tokens}


def _written(value: object, tokens: list[Any]) -> Any:  # noqa: ANN401 (a string or a Join)
    parts = json.dumps(value, ensure_ascii=False).split(_MARK)
    joined = [tokens[int(part)] if n % 2 else part for n, part in enumerate(parts)]
    return joined[0] if len(joined) == 1 else {"Fn::Join": ["", joined]}
