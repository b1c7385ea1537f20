"""Reading the operator's order from the text of its SSM parameter."""

from video_reclaim.records import Malformed, from_json
from video_reclaim.scaling.records import Override


def parse_override(text: str | None) -> tuple[Override | None, str | None]:
    """Read the order.

    Args:
        text: value of the parameter; None if there is no parameter.

    Returns:
        The order, expired or not, and None; or None and what is wrong with the text, which names the field.
        Without a parameter both are None.
    """
    if text is None:
        return None, None
    try:
        return from_json(text, Override), None
    except Malformed as exc:
        return None, f"override: {exc}"
