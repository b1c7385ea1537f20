"""The environment of the functions: the settings of a stage as variables.

The name of a variable follows from the setting: ``reclaiming.handoffSeconds`` of a stage is
``RECLAIMING_HANDOFF_SECONDS``, which ``functions/video_reclaim/settings.py`` reads as ``handoff_seconds`` of its
class ``Reclaiming``. Numbers, booleans, lists and objects are written as JSON; None is a variable that is absent.
"""

import json

from .stage import Stage


def variables(stage: Stage, section: str) -> dict[str, str]:
    """Return the variables of one section of a stage."""
    values = getattr(stage, section).model_dump(exclude_none=True, warnings=False)
    return {f"{section}_{key}".upper(): _text(value) for key, value in values.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
