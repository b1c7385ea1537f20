"""Redis: the workers' heartbeats, the strikes against silent workers, and the counts of reclaims.

The keys are in `rules.platform`. The strikes are kept beside the heartbeats on purpose: whatever deletes the
heartbeats deletes the strikes too. When Redis can't answer (an error, a timeout, still loading), nothing is
known: the methods here then return None or False, and never raise.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from video_reclaim import log, secrets
from video_reclaim.errors import SecretUnavailable
from video_reclaim.rules.platform import heartbeat_key, reclaims_key, silence_key
from video_reclaim.rules.reclaiming import History
from video_reclaim.rules.staleness import Heartbeat, Strike, Video
from video_reclaim.settings import Redis, read

RECLAIMS_REMEMBERED_S = 7 * 86_400
_TIMEOUT_S = 2
_KEYS_PER_CALL = 5_000
_NO_ANSWER = (redis.RedisError, OSError, SecretUnavailable)
T = TypeVar("T")


class Heartbeats:
    """The heartbeats' Redis, over one connection that is opened on first use and again after it was lost."""

    def __init__(self, settings: Redis, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._client: redis.Redis | None = None

    def read(self, videos: Iterable[Video]) -> dict[int, Heartbeat] | None:
        """Return the heartbeats that matter, by video id; None if Redis could not answer."""
        asked = [video for video in videos if video.needs_heartbeat]
        keys = _heartbeat_keys(asked)
        starts = range(0, len(keys), _KEYS_PER_CALL)
        try:
            parts: list[list[Any]] = self._ask(
                lambda r: [r.mget(keys[start : start + _KEYS_PER_CALL]) for start in starts]
            )
        except _NO_ANSWER as exc:
            _log_unknown("heartbeats", exc)
            return None
        return _heartbeats(asked, [answer for part in parts for answer in part])

    def read_and_count(self, videos: Sequence[Video], claims: Mapping[int, str]) -> History | None:
        """Return heartbeats and counts in one round trip, and count the reclaims that are about to happen.

        The claim that a reclaim ends is the unit: a retry, another execution and whoever goes on after a crash
        count nothing twice. None if Redis could not answer; what it has counted is then unknown.

        Args:
            videos: rows as just read, tenants known.
            claims: the claim to count, by video id. A video without one is between database and queue, and
                was counted when it was taken from its worker.
        """
        asked = [video for video in videos if video.needs_heartbeat]

        def conversation(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            if asked:
                pipeline.mget(_heartbeat_keys(asked))
            for video in videos:
                key, since_s = reclaims_key(video.tenant_id, video.id), video.now_s - RECLAIMS_REMEMBERED_S
                if video.id in claims:
                    pipeline.zadd(key, {claims[video.id]: video.now_s}, nx=True)
                    pipeline.expire(key, RECLAIMS_REMEMBERED_S)
                pipeline.zrange(key, since_s, "+inf", byscore=True)
            return pipeline.execute()

        try:
            answers = iter(self._ask(conversation) if videos else [])
        except _NO_ANSWER as exc:
            _log_unknown("heartbeats and reclaims", exc)
            return None
        history = History(_heartbeats(asked, next(answers)) if asked else {})
        for video in videos:
            if video.id in claims:
                added, _expires, members = next(answers), next(answers), next(answers)
                claim = claims[video.id].encode()
                history.earlier_reclaims[video.id] = sum(member != claim for member in members)
                if added:
                    history.newly_counted.add(video.id)
            else:  # the current reclaim is already counted
                history.earlier_reclaims[video.id] = max(0, len(next(answers)) - 1)
        return history

    def undo_counts(self, videos: Sequence[Video], claims: Mapping[int, str]) -> None:
        """Undo the counts of videos that were not reclaimed. Without Redis the count stays one too high."""
        commands = [("ZREM", reclaims_key(video.tenant_id, video.id), claims[video.id]) for video in videos]
        self._send("undo counts", commands)

    def clear_counts(self, videos: Sequence[Video]) -> None:
        """Delete the counts of quarantined videos, so that a retry by hand starts at 0."""
        self._send("clear counts", [("DEL", reclaims_key(video.tenant_id, video.id)) for video in videos])

    def record_strikes(
        self, videos: Iterable[Video], changes: Mapping[int, Strike | None], *, memory_s: int
    ) -> bool:
        """Write strikes that expire after ``memory_s`` seconds, and delete those that map to None.

        Return whether Redis took them. A strike that is not recorded delays a reclaim and never causes one.
        """
        commands: list[tuple[str | int, ...]] = []
        for video in videos:
            if video.id in changes:
                key, strike = silence_key(video.tenant_id, video.id), changes[video.id]
                value = f"{strike.at_s:.3f} {strike.lease}" if strike else ""
                commands.append(("SET", key, value, "EX", memory_s) if strike else ("DEL", key))
        return self._send("strikes", commands)

    def _send(self, what: str, commands: Sequence[tuple[str | int, ...]]) -> bool:
        def conversation(client: redis.Redis) -> None:
            for start in range(0, len(commands), _KEYS_PER_CALL):
                pipeline = client.pipeline(transaction=False)
                for command in commands[start : start + _KEYS_PER_CALL]:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                pipeline.execute()

        try:
            if commands:
                self._ask(conversation)
        except _NO_ANSWER as exc:
            _log_unknown(what, exc)
            return False
        return True

    def _ask(self, conversation: Callable[[redis.Redis], T]) -> T:
        try:
            return conversation(self._connected())
        except redis.AuthenticationError:
            if not self._settings.secret_arn:
                raise
            secrets.forget()  # the secret was rotated after it was fetched
            self._client = None
            return conversation(self._connected())

    def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = _connect(self._settings, self._timeout_s)
        return self._client


def _log_unknown(what: str, exc: Exception) -> None:
    log.warning("redis did not answer", asked=what, error=type(exc).__name__, cause=str(exc))


def _heartbeat_keys(videos: Sequence[Video]) -> list[str]:
    return [key(video.tenant_id, video.id) for video in videos for key in (heartbeat_key, silence_key)]


def _heartbeats(videos: Sequence[Video], answers: Sequence[bytes | None]) -> dict[int, Heartbeat]:
    return {
        video.id: Heartbeat(present=beat is not None, strike=_strike(strike))
        for video, beat, strike in zip(videos, answers[::2], answers[1::2], strict=True)
    }


def _strike(value: bytes | None) -> Strike | None:
    if value is None:
        return None
    at, _, lease = value.decode().partition(" ")
    try:
        return Strike(at_s=float(at), lease=lease)
    except ValueError:
        return None  # not written by this product


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


@cache
def heartbeats() -> Heartbeats:
    """Return the Redis that the environment names. Raises InvalidSetting."""
    return Heartbeats(read(Redis))
