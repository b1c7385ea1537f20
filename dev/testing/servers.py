"""Fixtures: a real PostgreSQL and Valkey per test process, and an academy's videos in them."""

import gc
import itertools
import json
import os
import time
from contextlib import closing

import psycopg2
import pytest
import redis

from dev.local.emulator import REGION
from dev.local.platform_tables import create_schema
from dev.local.postgres import NEWEST, OLDER, Postgres
from dev.local.valkey import Valkey
from dev.local.watchdog import scratch_folder
from dev.testing.clock import stopped_clock

STAGE = "night"
HEARD_KEY, SEEN_KEY = f"video-reclaim:{STAGE}:heartbeat-moved", f"video-reclaim:{STAGE}:seen"
__all__ = ["stopped_clock"]

os.environ["TZ"] = "Asia/Seoul"  # what takes local time for UTC is to be seen
time.tzset()

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # 1,300 images, made anew for each mocked AWS

_NUMBERS = itertools.count()
COLUMNS = (
    "id, session_id, file_key, status, leased_by, leased_until, processing_started_at, error_reason,"
    " created_at, updated_at"
)


@pytest.fixture(scope="session")
def servers_folder():
    """A temporary folder that every user may traverse: as root, PostgreSQL runs as another user."""
    with scratch_folder() as folder:
        yield folder


def pytest_collection_finish():
    """Have the garbage collector leave alone what was imported, and come less often."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def pytest_generate_tests(metafunc):
    """Run what is marked so on an older PostgreSQL too."""
    if metafunc.definition.get_closest_marker("every_postgres") and "postgres" in metafunc.fixturenames:
        metafunc.parametrize(
            "postgres", [NEWEST, OLDER], ids=["newest", "older"], indirect=True, scope="session"
        )


@pytest.fixture(scope="session")
def postgres(request, servers_folder):
    """A real PostgreSQL with the platform's tables."""
    package = getattr(request, "param", NEWEST)
    with Postgres(servers_folder / f"postgres-{next(_NUMBERS)}", package=package) as server:
        create_schema(server.dsn)
        yield server


@pytest.fixture(scope="session")
def valkey(servers_folder):
    """A real Valkey, which is compatible with Redis."""
    folder = servers_folder / "valkey"
    folder.mkdir()
    with Valkey(folder) as server:
        yield server


class Academy:
    """Three tenants, and videos in any state.

    Times are seconds from now by the database's clock; negative values are in the past.
    """

    def __init__(self, dsn, redis_url):
        self._dsn, self._connection = dsn, None
        self.redis = redis.Redis.from_url(redis_url)

    def disconnect(self):
        """Close the connections to the database; the next statement opens one."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def close(self):
        self.disconnect()
        self.redis.close()

    def sql(self, statement, parameters=()):
        if not self._connection:
            self._connection = psycopg2.connect(self._dsn)
            self._connection.autocommit = True
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def reset(self):
        self.redis.flushall()
        self.redis.set(HEARD_KEY, "1", ex=30 * 86_400)  # a Redis in which workers have been heard
        for table in ("video_video", "lectures_session", "lectures_lecture", "core_tenant"):
            self.sql(f"DELETE FROM {table}")  # TRUNCATE makes every file of a table anew: ten times the work
        self.sql("SELECT setval('video_video_id_seq', 1, false)")
        self.sql("INSERT INTO core_tenant (id, code) VALUES (1, 'north'), (2, 'south'), (3, 'west')")
        self.sql("INSERT INTO lectures_lecture (id, tenant_id) VALUES (11, 1), (12, 2), (13, 3), (19, NULL)")
        self.sql(
            "INSERT INTO lectures_session (id, lecture_id) VALUES (21, 11), (22, 12), (23, 13), (29, 19)"
        )

    def add(
        self, status="PROCESSING", *, id=None, tenant=1, by="worker-1", until=3600, started=-7200, beats=False
    ):
        """Add a video and return its id. ``tenant`` None leaves it without one."""
        if status not in ("PROCESSING",) and by == "worker-1":
            by, until = "", None
        ((video_id,),) = self.sql(
            "INSERT INTO video_video (id, session_id, file_key, status, leased_by, leased_until,"
            " processing_started_at, created_at, updated_at)"
            " VALUES (coalesce(%s, nextval(pg_get_serial_sequence('video_video', 'id'))), %s, %s, %s, %s,"
            " now() + make_interval(secs => %s), now() + make_interval(secs => %s),"
            " now() - interval '1 day', now() - interval '3 hours') RETURNING id",
            (id, 20 + (tenant or 9), f"tenants/{tenant}/lecture.mp4", status, by, until, started),
        )
        if beats:
            self.beat(video_id, tenant=tenant)
        return video_id

    def beat(self, video_id, *, tenant=1, left_s=60):
        """Send a heartbeat that expires in ``left_s`` seconds; None: never."""
        self.redis.set(f"tenant:{tenant}:video:{video_id}:heartbeat", "1", ex=left_s)

    def pass_time(self, seconds, *videos):
        """Make what was seen of these videos, or of all, and of the queue older; the last look was now."""
        fields = {name.decode(): json.loads(value) for name, value in self.redis.hgetall(SEEN_KEY).items()}
        for name in [str(video) for video in videos] or fields.keys() - {"looked-at", "lost"}:
            seen = fields[name]
            older = [seen[0] - seconds, *seen[1:]] if isinstance(seen, list) else seen - seconds
            self.redis.hset(SEEN_KEY, name, json.dumps(older))

    def upload(self, video_id):
        """The identity of a video's upload, with which the counts of its reclaims begin."""
        statement = "SELECT left(md5(file_key), 12) FROM video_video WHERE id = %s"
        return self.sql(statement, (video_id,))[0][0]

    def rows(self):
        """Return all columns of every video, by id."""
        return {row[0]: row[1:] for row in self.sql(f"SELECT {COLUMNS} FROM video_video")}

    def state(self, video_id):
        """Return the status of a video, its holder, and whether it has a lease."""
        ((status, holder, leased),) = self.sql(
            "SELECT status, leased_by, leased_until IS NOT NULL FROM video_video WHERE id = %s", (video_id,)
        )
        return status, holder, leased


@pytest.fixture(scope="session")
def one_academy(postgres, valkey):
    academy = Academy(postgres.dsn, valkey.url)
    yield academy
    academy.close()


@pytest.fixture
def academy(one_academy):
    """An academy with tenants but without videos, and an empty Redis."""
    one_academy.reset()
    return one_academy


@pytest.fixture
def environment(postgres, valkey, monkeypatch):
    """The environment variables that all functions have in common, set in the test's process."""
    for name, value in common_settings(postgres, valkey).items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield monkeypatch
    forget_clients()


def common_settings(postgres, valkey):
    """Return the environment variables that name the servers."""
    parts = psycopg2.extensions.parse_dsn(postgres.dsn)
    return {
        "DATABASE_HOST": parts["host"],
        "DATABASE_PORT": parts["port"],
        "DATABASE_NAME": parts["dbname"],
        "DATABASE_USER": parts["user"],
        "DATABASE_SSL_MODE": "disable",
        "DATABASE_STATEMENT_SECONDS": "20",
        "REDIS_URL": valkey.url,
        "STAGE_NAME": STAGE,
        "RECLAIMING_SILENT_AFTER_SECONDS": "60",
        "RECLAIMING_HANDOFF_SECONDS": "900",
        "RECLAIMING_MAX_RECLAIMS": "5",
        "RECLAIMING_MASS_SILENCE_SECONDS": "600",
        "RECLAIMING_LOST_AFTER_SECONDS": "300",
        "RECLAIMING_EXPIRED_BUT_BEATING": "reclaim",
        "QUEUES_URLS": '{"Video": ["http://127.0.0.1:1/000000000000/academy-video-jobs"]}',
        "WORKERS_GROUP_NAME": "academy-video-worker-asg",
        "SCHEDULE_RATE_MINUTES": "1",
    }


def forget_clients():
    """Close the connections and clients that a warm function keeps."""
    from video_reclaim import aws
    from video_reclaim.adapters.postgres import store
    from video_reclaim.adapters.redis import heartbeats

    store.store.cache_clear()
    heartbeats.heartbeats.cache_clear()
    aws.clients.clear()


@pytest.fixture(autouse=True, scope="session")
def no_real_aws():
    """Use dummy credentials, and no AWS variables of the developer's environment."""
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
