"""The SQL of docs/deploying.md, run on a PostgreSQL that grants nothing to everybody."""

import re
from contextlib import closing
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres

DOCUMENT = Path(__file__).parents[2] / "docs" / "deploying.md"


def execute(dsn, *statements):
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture(scope="module")
def documented_user(servers_folder):
    """The connection string of the user that the document creates."""
    (statements,) = re.findall(r"^```sql\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    with Postgres(servers_folder / "deploying") as server:
        create_schema(server.dsn)
        execute(
            server.dsn,
            "REVOKE CONNECT ON DATABASE academy FROM PUBLIC",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            statements,
        )
        yield server.dsn.replace("postgres@", "video_reclaim@")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(
            "SELECT v.status, v.leased_by, v.leased_until, v.processing_started_at, v.file_key, t.code"
            " FROM video_video v JOIN lectures_session s ON s.id = v.session_id"
            " JOIN lectures_lecture l ON l.id = s.lecture_id JOIN core_tenant t ON t.id = l.tenant_id",
            id="read-videos-with-their-tenants",
        ),
        pytest.param("SELECT id FROM video_video FOR UPDATE SKIP LOCKED", id="lock-videos"),
        pytest.param(
            "UPDATE video_video"
            " SET status = 'FAILED', leased_by = '', leased_until = NULL, error_reason = 'too often'",
            id="update-the-four-columns",
        ),
    ],
)
def test_documented_user_may(documented_user, statement):
    execute(documented_user, statement)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE video_video SET file_key = ''", id="update-another-column"),
        pytest.param("UPDATE core_tenant SET code = ''", id="update-another-table"),
        pytest.param("DELETE FROM video_video", id="delete-videos"),
        pytest.param("INSERT INTO core_tenant (id, code) VALUES (1, 'north')", id="insert"),
        pytest.param("CREATE TABLE mine (id int)", id="create-tables"),
    ],
)
def test_documented_user_may_not(documented_user, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(documented_user, statement)
