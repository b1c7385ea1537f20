"""One session with Redis, opened on first use and again after it was lost."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from video_reclaim import log, secrets
from video_reclaim.errors import SecretUnavailable
from video_reclaim.settings import Redis

_TIMEOUT_S = 2
_NO_ANSWER = (redis.RedisError, OSError, SecretUnavailable)
T = TypeVar("T")


class Session:
    """A connection that survives its own loss. When Redis can't answer, nothing is known."""

    def __init__(self, settings: Redis, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    def ask(self, what: str, conversation: Callable[[redis.Redis], T]) -> T | None:
        """Run a conversation and return its result; None, and a log line, when Redis could not answer.

        An error, a time-out, a missing permission, a Redis that is still loading: all of them are no answer. The
        next conversation connects anew: the name of a former primary leads elsewhere by then.
        """
        try:
            return conversation(self._client)
        except _NO_ANSWER as exc:
            self._client.close()
            log.warning("redis did not answer", asked=what, error=type(exc).__name__, cause=str(exc))
            return None

    @cached_property
    def _client(self) -> redis.Redis:
        options: dict[str, Any] = {}
        if self._settings.root_cert_file:
            options["ssl_ca_certs"] = self._settings.root_cert_file
        if self._settings.secret_arn:
            options["credential_provider"] = _Secret(self._settings.secret_arn)
        client: redis.Redis = redis.Redis.from_url(
            self._settings.url,
            **options,
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 1),  # a kept connection may be lost; the next run tries again
            client_name="video-reclaim",
        )
        return client


class _Secret(redis.CredentialProvider):
    """Signs in with the secret as it is when a connection is made, so that it may be rotated."""

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        held = secrets.fields(self._arn, bare="auth_token")
        if "auth_token" in held:
            return (held["auth_token"],)
        password = held.get("password", "")
        return (held["username"], password) if "username" in held else (password,)
