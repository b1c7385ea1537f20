"""Reading the operator's order from the text of its SSM parameter."""

from datetime import datetime, timedelta

from video_reclaim.conversion import Malformed, from_json
from video_reclaim.scaling.records import Override

LONGEST = timedelta(days=30)
"""An order that is meant to last longer is taken for a mistake in its year or month."""


def parse_override(text: str | None, at: datetime) -> tuple[Override | None, str | None]:
    """Return the order, expired or not, or else what is wrong with its text, which names the field.

    The other one is None. If there is no parameter, ``text`` is None, and so are both.
    """
    if text is None:
        return None, None
    try:
        order = from_json(text, Override)
    except Malformed as exc:
        return None, str(exc)
    if order.until > at + LONGEST:
        return None, f"until: {order.until.isoformat()} is more than {LONGEST.days} days ahead"
    return order, None
