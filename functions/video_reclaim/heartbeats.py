"""Redis: the workers' heartbeats, the strikes against silent ones, and how often a video was reclaimed.

    tenant:{tenant_id}:video:{video_id}:heartbeat   the worker's, "1", 60 s; only ever read here
    tenant:{tenant_id}:video:{video_id}:silence     "<seconds since the epoch> <lease>", the first miss
    tenant:{tenant_id}:video:{video_id}:reclaims    sorted set of reclaimed leases by time, seven days

The strikes lie beside the heartbeats on purpose: whatever wipes these wipes those. Redis that can't answer
(an error, a timeout, still loading) says nothing: the methods here then return None, and never raise.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from video_reclaim import log, secrets
from video_reclaim.errors import StoreUnavailable
from video_reclaim.settings import RedisSettings, read
from video_reclaim.staleness import Pulse, Strike, Video

RECLAIMS_REMEMBERED_S = 7 * 86_400
_KEYS_PER_CALL = 5_000
T = TypeVar("T")
_NO_ANSWER = (redis.RedisError, OSError, StoreUnavailable)  # the last: its auth token can't be fetched


class Heartbeats:
    """The heartbeats' Redis, over one connection that is opened on first use and again after it was lost."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._client: redis.Redis | None = None

    def pulses(self, videos: Iterable[Video]) -> dict[int, Pulse] | None:
        """What Redis says of the videos whose heartbeat matters, by id; None if it could not say."""
        asked = [video for video in videos if video.silence_matters]
        keys = _pulse_keys(asked)
        starts = range(0, len(keys), _KEYS_PER_CALL)
        try:
            parts: list[list[Any]] = self._ask(
                lambda r: [r.mget(keys[start : start + _KEYS_PER_CALL]) for start in starts]
            )
        except _NO_ANSWER as exc:
            self._unknown("heartbeats", exc)
            return None
        return _pulses(asked, [answer for part in parts for answer in part])

    def pulses_and_reclaims(
        self, videos: Sequence[Video], claims: Mapping[int, str]
    ) -> tuple[dict[int, Pulse], dict[int, int], set[int]] | None:
        """The pulses, how often each video was reclaimed before, and what was counted, in one round trip.

        The reclaim at hand is counted at once, under the claim that it ends: a retry, another execution and
        whoever goes on after a crash count nothing twice. Return None if Redis could not say.

        Args:
            videos: rows as just read, tenants known.
            claims: by id, the claim to count. A video without one is between the database and the queue:
                whoever took it has counted it.

        Returns:
            pulses by id; earlier reclaims by id; the ids whose claim nobody had counted yet.
        """
        asked = [video for video in videos if video.silence_matters]

        def conversation(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            if asked:
                pipeline.mget(_pulse_keys(asked))
            for video in videos:
                key, since_s = _key(video, "reclaims"), video.now_s - RECLAIMS_REMEMBERED_S
                if video.id in claims:
                    pipeline.zadd(key, {claims[video.id]: video.now_s}, nx=True)
                    pipeline.expire(key, RECLAIMS_REMEMBERED_S)
                pipeline.zrange(key, since_s, "+inf", byscore=True)
            return pipeline.execute()

        try:
            answers = iter(self._ask(conversation) if videos else [])
        except _NO_ANSWER as exc:
            self._unknown("heartbeats and reclaims", exc)
            return None
        pulses = _pulses(asked, next(answers)) if asked else {}
        reclaims: dict[int, int] = {}
        counted: set[int] = set()
        for video in videos:
            if video.id in claims:
                added, _expires, members = next(answers), next(answers), next(answers)
                reclaims[video.id] = sum(member.decode() != claims[video.id] for member in members)
                counted |= {video.id} if added else set()
            else:
                reclaims[video.id] = max(0, len(next(answers)) - 1)  # the one that it is in is among them
        return pulses, reclaims, counted

    def uncount(self, videos: Sequence[Video], claims: Mapping[int, str]) -> None:
        """Take back the count of reclaims that did not happen. Redis away leaves one too many."""
        self._quietly("uncount", [("ZREM", _key(video, "reclaims"), claims[video.id]) for video in videos])

    def forget_reclaims(self, videos: Sequence[Video]) -> None:
        """Clear the count of quarantined videos: a retry by hand starts afresh."""
        self._quietly("forget reclaims", [("DEL", _key(video, "reclaims")) for video in videos])

    def record_strikes(
        self, videos: Iterable[Video], changes: Mapping[int, Strike | None], *, memory_s: int
    ) -> bool:
        """Write new strikes, to be remembered for ``memory_s`` seconds, and forget those that map to None.

        Return whether Redis took them. One that is not recorded delays a reclaim, and never causes one.
        """
        commands: list[tuple[str | int, ...]] = []
        for video in videos:
            if video.id in changes:
                key, strike = _key(video, "silence"), changes[video.id]
                value = f"{strike.at_s:.3f} {strike.lease}" if strike else ""
                commands.append(("SET", key, value, "EX", memory_s) if strike else ("DEL", key))
        return self._quietly("strikes", commands)

    def _quietly(self, what: str, commands: Sequence[tuple[str | int, ...]]) -> bool:
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
            self._unknown(what, exc)
            return False
        return True

    def _ask(self, conversation: Callable[[redis.Redis], T]) -> T:
        try:
            return conversation(self._redis())
        except redis.AuthenticationError:
            if not self._settings.redis_secret_arn:
                raise
            secrets.forget()  # rotated since it was fetched
            self._client = None
            return conversation(self._redis())

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = _connect(self._settings)
        return self._client

    def _unknown(self, what: str, exc: Exception) -> None:
        log.event("redis unknown", what=what, error=type(exc).__name__, cause=str(exc))


def _key(video: Video, kind: str) -> str:
    return f"tenant:{video.tenant_id}:video:{video.id}:{kind}"


def _pulse_keys(videos: Sequence[Video]) -> list[str]:
    return [_key(video, kind) for video in videos for kind in ("heartbeat", "silence")]


def _pulses(videos: Sequence[Video], answers: Sequence[bytes | None]) -> dict[int, Pulse]:
    return {
        video.id: Pulse(beating=beat is not None, strike=_strike(strike))
        for video, beat, strike in zip(videos, answers[::2], answers[1::2], strict=True)
    }


def _strike(value: bytes | None) -> Strike | None:
    if value is None:
        return None
    at, _, lease = value.decode().partition(" ")
    try:
        return Strike(at_s=float(at), lease=lease)
    except ValueError:
        return None  # not one of ours: as good as none


def _connect(settings: RedisSettings) -> redis.Redis:
    roots = {"ssl_ca_certs": settings.redis_sslrootcert} if settings.redis_sslrootcert else {}
    client: redis.Redis = redis.Redis.from_url(
        settings.redis_url,
        **_credentials(settings),
        **roots,
        socket_timeout=settings.redis_timeout_seconds,
        socket_connect_timeout=settings.redis_timeout_seconds,
        retry=Retry(NoBackoff(), 1),  # a kept connection may have died; more patience belongs to the next run
        client_name="video-reclaim",
    )
    return client


def _credentials(settings: RedisSettings) -> dict[str, str]:
    secret_arn = settings.redis_secret_arn
    if not secret_arn:
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
    """The Redis that the environment names. Raises InvalidSetting."""
    return Heartbeats(read(RedisSettings))
