"""CONTEXT of `make up`: settings that override those of the stage ``local``."""

import json
from collections.abc import Mapping
from typing import Any

STAGE = "local"


class InvalidContext(ValueError):
    """CONTEXT can't be used; the message is one line and names the key."""


def read_context(text: str) -> dict[str, Any]:
    """Read CONTEXT, a JSON object like ``{"reclaiming": {"maxReclaims": 7}}``; empty text is ``{}``.

    Raises:
        InvalidContext: it is not a JSON object, or the stage ``local`` is not valid with it.
    """
    if not text.strip():
        return {}
    try:
        overrides = json.loads(text)
    except ValueError as exc:
        raise InvalidContext(f"CONTEXT: not JSON ({exc})") from exc
    if not isinstance(overrides, dict):
        raise InvalidContext("CONTEXT: not a JSON object")

    from cdk.stage import InvalidStage, load, stages_in

    try:
        load(stages_in(), STAGE, text)
    except InvalidStage as exc:
        raise InvalidContext("CONTEXT: " + "; ".join(str(exc).splitlines())) from exc
    return overrides


def show_context(overrides: Mapping[str, Any]) -> str:
    """Return CONTEXT as one writes it after `make up`."""
    return f"CONTEXT='{json.dumps(overrides)}'" if overrides else "no CONTEXT"
