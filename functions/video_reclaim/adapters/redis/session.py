"""One session with Redis, opened on first use and again after it was lost."""

from collections.abc import Callable
from typing import TypeVar

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
        self._client: redis.Redis | None = None

    def ask(self, what: str, conversation: Callable[[redis.Redis], T]) -> T | None:
        """Run a conversation and return its result; None, and a log line, when Redis could not answer.

        An error, a time-out, a missing permission, a Redis that is still loading: all of them are no answer.
        """
        try:
            return self._ask(conversation)
        except _NO_ANSWER as exc:
            if isinstance(exc, redis.ReadOnlyError):  # a former primary: the name now leads elsewhere
                self._drop()
            log.warning("redis did not answer", asked=what, error=type(exc).__name__, cause=str(exc))
            return None

    def _ask(self, conversation: Callable[[redis.Redis], T]) -> T:
        try:
            return conversation(self._connected())
        except redis.AuthenticationError:
            if not self._settings.secret_arn:
                raise
            secrets.forget()  # the secret was rotated after it was fetched
            self._drop()
            return conversation(self._connected())

    def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = _connect(self._settings, self._timeout_s)
        return self._client

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _connect(settings: Redis, timeout_s: float) -> redis.Redis:
    roots = {"ssl_ca_certs": settings.root_cert_file} if settings.root_cert_file else {}
    client: redis.Redis = redis.Redis.from_url(
        settings.url,
        **_credentials(settings),
        **roots,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),  # a kept connection may be lost; the next run tries again
        client_name="video-reclaim",
    )
    return client


def _credentials(settings: Redis) -> dict[str, str]:
    secret_arn = settings.secret_arn
    if secret_arn is None:
        return {}
    bare = secrets.text(secret_arn)
    if not bare.startswith("{"):
        return {"password": bare}
    held = secrets.fields(secret_arn)
    if "auth_token" in held:
        return {"password": held["auth_token"]}
    return {field: held[field] for field in ("username", "password") if field in held}
