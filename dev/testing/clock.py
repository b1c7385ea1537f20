"""A clock that stands still, so that no test loses its minute."""

from datetime import UTC, datetime

import pytest


@pytest.fixture
def stopped_clock(monkeypatch):
    """The time at which PublishBacklog decides: the middle of the present minute, however long the test takes."""
    import publish_backlog

    at = datetime.now(UTC).replace(second=30, microsecond=0)

    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return at.astimezone(tz)

    monkeypatch.setattr(publish_backlog, "datetime", Stopped)
    return at
