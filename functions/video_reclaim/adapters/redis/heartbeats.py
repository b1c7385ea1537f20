"""The workers' heartbeats, and what the product remembers beside them: sightings, and counts of dead claims.

The product's keys are in the Redis of the heartbeats on purpose: what deletes these deletes them too. When Redis
can't answer, the methods here return None, False or nothing, and never raise.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import redis

from video_reclaim.adapters.redis import values
from video_reclaim.adapters.redis.session import Session
from video_reclaim.rules.platform import Job, Key, StageKey, job_lock_key
from video_reclaim.rules.reclaiming import FOUND_DEAD, MAX_QUARANTINES_AN_HOUR, Tally, claims_found_dead
from video_reclaim.rules.sightings import Look, Sighting
from video_reclaim.rules.staleness import Reason, Video
from video_reclaim.rules.view import Notes
from video_reclaim.settings import Redis, Stage, read

_HOUR_S, _DAY_S = 3_600, 86_400
_RECLAIMS_REMEMBERED_S = 7 * _DAY_S
_HEARD_REMEMBERED_S = 30 * _DAY_S
_NO_EXPIRY, _NO_KEY = -1, -2  # PTTL
_LOOKED_AT, _QUEUE_CLEAR, _MASS_SILENCE, _LOST = b"looked-at", b"queue-clear", b"mass-silence", b"lost"
_OF_THE_STAGE = (_LOOKED_AT, _QUEUE_CLEAR, _MASS_SILENCE, _LOST)

_COUNTED_OR_TAKEN = (*FOUND_DEAD, Reason.MESSAGE_LOST)


class Heartbeats:
    """What the functions of one stage read and write in Redis."""

    def __init__(self, settings: Redis, stage: str, **session: float) -> None:
        self._session = Session(settings, **session)
        self._seen, self._heard = StageKey.SEEN.of(stage), StageKey.HEARD.of(stage)
        self._quarantines = StageKey.QUARANTINES.of(stage)

    def look(self, videos: Sequence[Video], *, whole: bool = True) -> Look | None:
        """Read the heartbeats of these videos and what is remembered, if ``whole`` of others too, in one round trip."""
        keyed = [video for video in videos if video.tenant_id is not None]
        waiting = [video for video in keyed if video.waits]
        names = [*_OF_THE_STAGE, *(str(video.id).encode() for video in videos)]

        def conversation(client: redis.Redis) -> Look:
            pipeline = client.pipeline(transaction=False)
            pipeline.ttl(self._heard)
            pipeline.hgetall(self._seen) if whole else pipeline.hmget(self._seen, names)
            pipeline.mget([self._heard, *(Key.CANCEL.of(video.tenant_id, video.id) for video in waiting)])
            pipeline.time()
            for video in keyed:
                pipeline.pttl(Key.HEARTBEAT.of(video.tenant_id, video.id))
            heard_ttl_s, found, cancelled, (seconds, microseconds), *lives_ms = pipeline.execute()
            fields = found if whole else dict(zip(names, found, strict=True))
            now_s = seconds + microseconds / 1e6
            return Look(
                answered=True,
                now_s=now_s,
                expires_s={  # a key that never expires tells nothing about its worker
                    video.id: None if left_ms == _NO_KEY else now_s + left_ms / 1000
                    for video, left_ms in zip(keyed, lives_ms, strict=True)
                    if left_ms != _NO_EXPIRY
                },
                recorded=values.parse_sightings(fields),
                looked_at_s=values.parse(fields.get(_LOOKED_AT), float) or 0.0,
                queue_clear_since_s=values.parse(fields.get(_QUEUE_CLEAR), float),
                mass_silence_since_s=values.parse(fields.get(_MASS_SILENCE), float),
                heard_ttl_s=heard_ttl_s,
                lost=values.parse(fields.get(_LOST), frozenset[int]) or frozenset(),
                retried=frozenset(
                    video.id for video, key in zip(waiting, cancelled[1:], strict=True) if key is not None
                ),
            )

        return self._session.ask("heartbeats", conversation)

    def record(self, notes: Notes, *, memory_s: int) -> bool:
        """Write what a listing saw, void after ``memory_s`` seconds without another; return whether Redis took it."""
        fields: dict[Any, Any] = {
            str(video_id).encode(): values.write(one) for video_id, one in notes.changed.items()
        }
        ended = [str(video_id).encode() for video_id in notes.ended]
        for name, before_s, since_s in (
            (_QUEUE_CLEAR, notes.look.queue_clear_since_s, notes.queue_clear_since_s),
            (_MASS_SILENCE, notes.look.mass_silence_since_s, notes.mass_silence_since_s),
        ):
            if since_s is None and before_s is not None:
                ended.append(name)
            elif since_s is not None and before_s is None:
                fields[name] = values.write(since_s)
        if notes.lost:
            fields[_LOST] = values.write(notes.lost)
        elif notes.look.lost:
            ended.append(_LOST)
        if fields or notes.look.recorded:
            fields[_LOOKED_AT] = values.write(notes.look.now_s)
        mark = notes.heard and notes.look.heard_ttl_s < _HEARD_REMEMBERED_S - _DAY_S

        def conversation(client: redis.Redis) -> bool:
            pipeline = client.pipeline(transaction=False)
            if fields:
                pipeline.hset(self._seen, mapping=fields)
                pipeline.expire(self._seen, memory_s)
            if ended:
                pipeline.hdel(self._seen, *ended)
            if mark:
                pipeline.set(self._heard, "1", ex=_HEARD_REMEMBERED_S)
            pipeline.execute()
            return True

        return not (fields or ended or mark) or bool(self._session.ask("sightings", conversation))

    def count(
        self, videos: Sequence[Video], reasons: Mapping[int, Reason], recorded: Mapping[int, Sighting]
    ) -> Tally:
        """Count the claims that were found dead, and take the sightings of lost messages, in one round trip.

        A claim counts once, whoever counts it again. Only one execution can take a sighting, and so send a lost
        message again. One that differs from what is ``recorded`` was written after another execution took the first.
        """
        stale = [video for video in videos if reasons[video.id].stale]
        claims = claims_found_dead(stale, reasons)

        def conversation(client: redis.Redis) -> Tally:
            pipeline = client.pipeline(transaction=False)
            for video in stale:
                key = Key.RECLAIMS.of(video.tenant_id, video.id)
                if reasons[video.id] == Reason.MESSAGE_LOST:
                    pipeline.hmget(self._seen, [str(video.id)])
                    pipeline.hdel(self._seen, str(video.id))
                elif video.id in claims:
                    pipeline.zadd(key, {claims[video.id]: video.now_s}, nx=True)
                pipeline.expire(key, _RECLAIMS_REMEMBERED_S)
                pipeline.zrange(key, video.now_s - _RECLAIMS_REMEMBERED_S, "+inf", byscore=True)
            return _tally(stale, reasons, recorded, iter(pipeline.execute(raise_on_error=False)))

        return (self._session.ask("reclaims", conversation) if stale else Tally(answered=True)) or Tally()

    def begin_quarantine(self, videos: Sequence[Video]) -> set[int]:
        """End the counts of the videos that may be quarantined in this hour, and return their ids.

        The counts end before the rows are written: if the answer to that is lost, a user's retry starts at 0. If
        the row isn't written after all, its count is lost, and the video is put back to work a few times more.
        """

        def conversation(client: redis.Redis) -> set[int]:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(self._quarantines, 0, ex=_HOUR_S, nx=True)
            for _ in videos:
                pipeline.incr(self._quarantines)
            pipeline.ttl(self._quarantines)
            _, *numbers, ttl_s = pipeline.execute()
            if ttl_s == _NO_EXPIRY:  # it expired between SET and INCR
                client.expire(self._quarantines, _HOUR_S)
            numbered = zip(videos, numbers, strict=True)
            granted = [video for video, number in numbered if number <= MAX_QUARANTINES_AN_HOUR]
            if granted:
                client.delete(*(Key.RECLAIMS.of(video.tenant_id, video.id) for video in granted))
            return {video.id for video in granted}

        return (self._session.ask("quarantines", conversation) if videos else None) or set()

    def forget_status(self, videos: Sequence[Video]) -> None:
        """Delete the platform's cache of the public status, so that users see the row."""
        keys = [Key.STATUS.of(video.tenant_id, video.id) for video in videos]
        if keys:
            self._session.ask("forget status", lambda client: client.delete(*keys))

    def prepare_jobs(self, jobs: Sequence[Job]) -> dict[int, int] | None:
        """Delete the locks that dead workers left, and return for how long to delay messages, in seconds.

        A message that a worker would drop, because of the platform's ``cancel_requested`` key, is delayed by what is
        left of the key's life. Without an answer, None, nothing is delayed: such a message is found lost later.
        """

        def conversation(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for job in jobs:
                pipeline.pttl(Key.CANCEL.of(job.tenant_id, job.video_id))
            pipeline.delete(*[job_lock_key(job.video_id) for job in jobs])
            return pipeline.execute()

        answers = self._session.ask("job keys", conversation) if jobs else []
        if answers is None:
            return None
        return {job.video_id: -(-left // 1000) for job, left in zip(jobs, answers, strict=False) if left > 0}


def _tally(
    stale: Sequence[Video],
    reasons: Mapping[int, Reason],
    recorded: Mapping[int, Sighting],
    answers: Iterator[Any],
) -> Tally:
    """Read the answers to `Heartbeats.count`. A key of another type gives an unknown count, and harms no other."""
    tally = Tally(answered=True)
    for video in stale:
        reason = reasons[video.id]
        (written,) = (_checked(next(answers)) or [None]) if reason == Reason.MESSAGE_LOST else [None]
        seen = values.parse(written, Sighting)
        first = _checked(next(answers)) if reason in _COUNTED_OR_TAKEN else 0
        _checked(next(answers))  # EXPIRE
        claims = _checked(next(answers))
        if first and seen is not None and seen == recorded.get(video.id):
            tally.taken.add(video.id)
        if claims is not None:
            upload = f"{video.upload} ".encode()
            tally.reclaims[video.id] = sum(claim.startswith(upload) for claim in claims)
    return tally


def _checked(answer: Any) -> Any:  # noqa: ANN401 (an answer of Redis)
    if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


@cache
def heartbeats() -> Heartbeats:
    """Return the Redis that the environment names. Raises InvalidSetting."""
    return Heartbeats(read(Redis), read(Stage).name)
