"""Connections as Lambda needs them: verified, bounded in time, kept, and made anew after a failover."""

import json
import os
import socket
import ssl
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import boto3
import psycopg2
import pytest
import trustme
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from dev.local.platform_tables import create_schema
from dev.local.postgres import Postgres
from dev.local.relay import Relay
from dev.testing.servers import STAGE, forget_clients
from dev.testing.videos import a_video
from video_reclaim import aws
from video_reclaim.adapters.postgres import session as adapter
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.adapters.redis.heartbeats import Heartbeats
from video_reclaim.errors import InvalidSetting, StoreUnavailable
from video_reclaim.rules.platform import Job
from video_reclaim.settings import Database, Redis

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def server(servers_folder):
    """A PostgreSQL of this module's own, whose user ``lambda`` signs in by password."""
    folder = servers_folder / "guarded"
    with Postgres(folder) as running:
        create_schema(running.dsn)
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("host all lambda 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        admin(
            running, "CREATE ROLE lambda LOGIN PASSWORD 'first' IN ROLE pg_read_all_data, pg_write_all_data"
        )
        admin(running, "SELECT pg_reload_conf()")
        yield running


def admin(server, statement):
    with closing(psycopg2.connect(server.dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else None


def settings(port, **changes):
    given = {
        "host": "127.0.0.1",
        "name": "academy",
        "port": port,
        "user": "postgres",
        "ssl_mode": "disable",
        "statement_seconds": 20,
    }
    return Database(**{**given, **changes})


def sessions(server):
    return admin(server, "SELECT pid FROM pg_stat_activity WHERE application_name = 'video-reclaim'")


class Authority:
    """A root of trust, written to ``root``."""

    def __init__(self, folder):
        self._ca, self.root = trustme.CA(), folder / "root.pem"
        self._ca.cert_pem.write_to_path(self.root)

    def server(self, host, not_after=None):
        """A server's side of TLS, with a certificate for one host name or address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host, not_after=not_after).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"))


class TestVerification:
    def verified(self, relay, root, mode="verify-full"):
        return settings(relay.port, ssl_mode=mode, ssl_root_cert=str(root))

    def test_a_certificate_of_a_trusted_root_for_this_host_is_accepted(self, server, authority):
        with Relay(server.port, tls=authority.server("127.0.0.1"), postgres=True) as relay:
            assert Store(self.verified(relay, authority.root)).measure_backlog().uploaded == 0
            assert relay.connections == 1

    @pytest.mark.parametrize(
        ("host", "not_after", "complaint"),
        [
            pytest.param("database.example.com", None, "does not match host name", id="for-another-host"),
            pytest.param("127.0.0.1", datetime(2020, 1, 1), "certificate verify failed", id="expired"),
        ],
    )
    def test_a_certificate_that_is_wrong_is_refused(self, server, authority, host, not_after, complaint):
        with (
            Relay(server.port, tls=authority.server(host, not_after), postgres=True) as relay,
            pytest.raises(StoreUnavailable, match=complaint),
        ):
            Store(self.verified(relay, authority.root)).measure_backlog()

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    def test_a_root_that_is_not_trusted_is_refused(self, server, authority, stranger, mode):
        with (
            Relay(server.port, tls=stranger.server("127.0.0.1"), postgres=True) as relay,
            pytest.raises(StoreUnavailable, match="certificate verify failed"),
        ):
            Store(self.verified(relay, authority.root, mode)).measure_backlog()

    def test_the_roots_that_are_shipped_can_be_read_and_trust_no_stranger(self, server, stranger):
        with (
            Relay(server.port, tls=stranger.server("127.0.0.1"), postgres=True) as relay,
            pytest.raises(StoreUnavailable, match="certificate verify failed"),
        ):
            Store(self.verified(relay, Path("cdk/certificates/rds.pem").resolve())).measure_backlog()

    def test_a_server_without_tls_is_refused(self, server, authority):
        with pytest.raises(StoreUnavailable, match="server does not support SSL"):
            Store(self.verified(server, authority.root)).measure_backlog()

    def test_verification_without_roots_is_refused(self, server):
        with pytest.raises(InvalidSetting, match="DATABASE_SSL_ROOT_CERT: is needed for verify-full"):
            Store(settings(server.port, ssl_mode="verify-full")).measure_backlog()

    def test_redis_is_verified_too(self, valkey, authority, stranger):
        for shown, trusted in ((authority, True), (stranger, False)):
            with Relay(valkey.port, tls=shown.server("127.0.0.1")) as relay:
                url = f"rediss://127.0.0.1:{relay.port}/0"
                redis = Heartbeats(Redis(url, ssl_root_cert=str(authority.root)), STAGE)
                assert (redis.look([SILENT]) is not None) == trusted

    def test_redis_is_not_trusted_by_default_without_a_public_root(self, valkey, authority):
        with Relay(valkey.port, tls=authority.server("127.0.0.1")) as relay:
            assert Heartbeats(Redis(f"rediss://127.0.0.1:{relay.port}/0"), STAGE).look([SILENT]) is None


SILENT = a_video()


class TestTimeouts:
    def test_a_server_that_accepts_and_never_answers(self, server, monkeypatch):
        monkeypatch.setattr(adapter, "_CONNECT_TIMEOUT_S", 2)
        with Relay(server.port, mute=True) as relay, pytest.raises(StoreUnavailable, match="timeout expired"):
            Store(settings(relay.port)).measure_backlog()

    def test_a_statement_that_waits_for_a_lock(self, server):
        store = Store(settings(server.port, statement_seconds=1))
        store.measure_backlog()
        with closing(psycopg2.connect(server.dsn)) as other, other.cursor() as cursor:
            cursor.execute("LOCK TABLE video_video IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreUnavailable, match="statement timeout"):
                store.measure_backlog()
        assert store.measure_backlog().uploaded == 0

    def test_a_statement_that_takes_too_long_is_not_run_again(self, server):
        admin(server, "CREATE SEQUENCE attempts")
        store = Store(settings(server.port, statement_seconds=1))
        store.measure_backlog()
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            store._session.fetch("SELECT nextval('attempts'), pg_sleep(5)", {})
        assert admin(server, "SELECT last_value FROM attempts") == [(1,)]

    def test_a_peer_that_vanishes_is_noticed_by_the_sockets_own_options(self, server):
        store = Store(settings(server.port, statement_seconds=7))
        store.measure_backlog()
        with socket.socket(fileno=os.dup(store._session._connection.fileno())) as kept:
            assert kept.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
            assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7_000
        assert int(store._session._connection.get_dsn_parameters()["connect_timeout"]) <= 10
        store._session._drop()

    def test_redis_that_accepts_and_never_answers_is_unknown(self, valkey):
        with Relay(valkey.port, mute=True) as relay:
            redis = Heartbeats(Redis(f"redis://127.0.0.1:{relay.port}/0"), STAGE, timeout_s=1)
            assert redis.look([SILENT]) is None

    def test_redis_is_waited_for_less_than_the_functions_have_time(self, valkey):
        with Relay(valkey.port, mute=True) as relay:
            started = time.monotonic()
            assert Heartbeats(Redis(f"redis://127.0.0.1:{relay.port}/0"), STAGE).look([SILENT]) is None
            assert time.monotonic() - started < 20

    def test_aws_is_waited_for_so_briefly_that_there_is_time_to_ask_the_next_service(self, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        forget_clients()
        config = aws.client("sqs").meta.config
        forget_clients()
        attempts = config.retries["total_max_attempts"]
        assert attempts > 1
        assert attempts * (config.connect_timeout + config.read_timeout) <= 20


class TestKeptConnections:
    def test_a_warm_environment_holds_one_connection_under_its_name(self, server):
        store = Store(settings(server.port))
        for _ in range(5):
            store.measure_backlog()
            store.list_candidates()
        assert len(sessions(server)) == 1
        store._session._drop()

    def test_a_read_survives_a_connection_that_was_cut_meanwhile(self, server):
        with Relay(server.port) as relay:
            store = Store(settings(relay.port))
            store.measure_backlog()
            relay.cut_all()
            assert store.measure_backlog().uploaded == 0
            assert relay.connections == 2

    def test_a_write_over_a_cut_connection_is_left_to_the_workflows_retry(self, server):
        with Relay(server.port) as relay:
            store = Store(settings(relay.port))
            store.measure_backlog()
            relay.cut_all()
            with pytest.raises(StoreUnavailable):
                store.lease_for_handoff([SILENT], token="t", handoff_s=900)
            assert store.lease_for_handoff([SILENT], token="t", handoff_s=900).ids == []

    def test_the_end_of_a_handoff_survives_it_so_that_no_message_is_sent_again(self, server):
        with Relay(server.port) as relay:
            store = Store(settings(relay.port))
            store.measure_backlog()
            relay.cut_all()
            assert (
                store.clear_handoffs([Job(1, "file", 1, "north", "2026-01-01 00:00:00+00")], token="t").ids
                == []
            )

    def test_a_backend_that_is_ended_by_the_server(self, server):
        store = Store(settings(server.port))
        store.measure_backlog()
        admin(server, f"SELECT pg_terminate_backend({sessions(server)[0][0]})")
        assert store.measure_backlog().uploaded == 0
        store._session._drop()

    def test_a_former_primary_is_disconnected_until_it_may_write(self, server):
        store = Store(settings(server.port))
        store.measure_backlog()
        try:
            admin(server, "ALTER SYSTEM SET default_transaction_read_only = on")
            admin(server, "SELECT pg_reload_conf()")
            while admin(server, "SHOW default_transaction_read_only") != [("on",)]:
                pass
            with pytest.raises(StoreUnavailable, match="read-only"):
                store.lease_for_handoff([SILENT], token="t", handoff_s=900)
            assert not sessions(server)
            with pytest.raises(StoreUnavailable, match="read-only"):  # not even to read
                store.measure_backlog()
        finally:
            admin(server, "ALTER SYSTEM RESET default_transaction_read_only")
            admin(server, "SELECT pg_reload_conf()")
        while admin(server, "SHOW default_transaction_read_only") != [("off",)]:
            pass
        assert store.lease_for_handoff([SILENT], token="t", handoff_s=900).ids == []
        store._session._drop()


class Vault:
    """Secrets Manager, and how often it was asked."""

    def __init__(self):
        self._client = boto3.Session(region_name=REGION).client("secretsmanager")
        self.asked = 0
        boto3.setup_default_session(region_name=REGION)
        boto3.DEFAULT_SESSION.events.register("provide-client-params.secretsmanager.*", self._count)

    def _count(self, **_):
        self.asked += 1

    def holds(self, text):
        return self._client.create_secret(Name="s", SecretString=text)["ARN"]

    def now_holds(self, text):
        self._client.put_secret_value(SecretId="s", SecretString=text)


def credentials(password, username="lambda"):
    return json.dumps({"engine": "postgres", "username": username, "password": password})


@pytest.fixture
def vault():
    forget_clients()
    with mock_aws():
        yield Vault()
    forget_clients()
    boto3.DEFAULT_SESSION = None


class TestSigningIn:
    @pytest.fixture(autouse=True)
    def password(self, server):
        admin(server, "ALTER ROLE lambda PASSWORD 'first'")

    def test_a_password_that_was_rotated_serves_the_next_connection(self, server, vault):
        store = Store(settings(server.port, secret_arn=vault.holds(credentials("first"))))
        store.measure_backlog()
        admin(server, "ALTER ROLE lambda PASSWORD 'second'")
        vault.now_holds(credentials("second"))
        assert store.measure_backlog().uploaded == 0  # a connection that is open stays so
        assert vault.asked == 1
        store._session._drop()
        assert store.measure_backlog().uploaded == 0
        assert vault.asked == 2
        store._session._drop()

    def test_a_secret_with_another_user_is_used(self, server, vault):
        store = Store(settings(server.port, secret_arn=vault.holds(credentials("x", "gone"))))
        admin(server, "DROP ROLE IF EXISTS gone")
        admin(server, "CREATE ROLE gone LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
        store.measure_backlog()
        store._session._drop()
        admin(server, "DROP ROLE gone")
        vault.now_holds(credentials("first"))
        assert store.measure_backlog().uploaded == 0
        store._session._drop()

    def test_a_password_that_is_wrong_is_tried_once_and_not_quoted(self, server, vault):
        store = Store(settings(server.port, secret_arn=vault.holds(credentials("marked-wrong"))))
        with pytest.raises(StoreUnavailable, match="authentication failed") as caught:
            store.measure_backlog()
        assert vault.asked == 1
        assert "marked-wrong" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            pytest.param("marked-text", "is not a JSON object", id="bare-text"),
            pytest.param('["marked-text"]', "is not a JSON object", id="a-list"),
            pytest.param('{"username": "marked-text"}', "has no password", id="half-of-it"),
            pytest.param('{"user": "marked-text"}', "has no username and no password", id="other-names"),
            pytest.param('{"username": "marked-text", "password": ""}', "has no password", id="an-empty-one"),
        ],
    )
    def test_a_secret_of_another_form_is_named_and_not_quoted(self, server, vault, text, complaint):
        with pytest.raises(StoreUnavailable, match=complaint) as caught:
            Store(settings(server.port, secret_arn=vault.holds(text))).measure_backlog()
        assert "marked-text" not in str(caught.value)

    def test_a_secret_that_cannot_be_read_is_no_answer_of_its_server(self, server, valkey, monkeypatch):
        def no_answer(*_):
            raise EndpointConnectionError(endpoint_url="https://secrets")

        monkeypatch.setattr(BaseClient, "_make_api_call", no_answer)
        with pytest.raises(StoreUnavailable, match="can't be read: Could not connect"):
            Store(settings(server.port, secret_arn="arn")).measure_backlog()
        assert Heartbeats(Redis(valkey.url, secret_arn="arn"), STAGE).look([SILENT]) is None

    def test_with_a_token_of_iam_for_this_host_and_user(self, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        forget_clients()
        given = settings(5432, user="lambda", iam_resource_id="db-ABC", ssl_mode="require")
        signed = adapter._credentials(given)
        forget_clients()
        assert signed["user"] == "lambda"
        assert signed["password"].startswith("127.0.0.1:5432/?Action=connect&DBUser=lambda&")
        assert "X-Amz-Signature=" in signed["password"]

    def test_redis_by_a_token_that_was_rotated_meanwhile(self, academy, valkey, vault):
        academy.redis.acl_setuser(
            "lambda", reset=True, enabled=True, passwords=["+one"], keys="*", commands=["+@all"]
        )
        secret = json.dumps({"username": "lambda", "password": "one"})
        redis = Heartbeats(Redis(valkey.url, secret_arn=vault.holds(secret)), STAGE)
        assert redis.look([SILENT]) is not None
        academy.redis.execute_command("ACL", "SETUSER", "lambda", "resetpass", ">two")
        vault.now_holds(json.dumps({"username": "lambda", "password": "two"}))
        academy.redis.client_kill_filter(user="lambda")
        assert redis.look([SILENT]) is not None
        assert vault.asked == 2

    def test_redis_by_a_bare_token(self, academy, valkey, vault):
        academy.redis.config_set("requirepass", "bare")
        try:
            redis = Heartbeats(Redis(valkey.url, secret_arn=vault.holds("bare")), STAGE)
            assert redis.look([SILENT]) is not None
            stale = Heartbeats(Redis(valkey.url), STAGE)
            assert stale.look([SILENT]) is None
        finally:
            academy.redis.config_set("requirepass", "")
