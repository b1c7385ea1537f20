"""Fixtures of the protocol's tests."""

from contextlib import ExitStack

import psycopg2
import pytest

from dev.testing.protocol_stage import stage, timeline, timing

__all__ = ["stage", "timeline", "timing"]


@pytest.fixture
def session(postgres):
    """Opens further sessions to the database, each of which is rolled back in the end."""
    with ExitStack() as undo:

        def open_session(name="another"):
            connection = psycopg2.connect(postgres.dsn, application_name=name)
            undo.callback(connection.close)
            return connection

        yield open_session
