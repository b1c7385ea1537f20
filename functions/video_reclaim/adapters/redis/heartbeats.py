"""The workers' heartbeats, and what the product keeps beside them: strikes, waits and counts of reclaims.

The keys are in `rules.platform`. The product's own keys are in the same Redis as the heartbeats on purpose:
whatever deletes the heartbeats deletes them too. When Redis can't answer, the methods here return None or
False, and never raise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import redis

from video_reclaim.adapters.redis import values
from video_reclaim.adapters.redis.pipelines import ask_heartbeats, execute, read_heartbeats
from video_reclaim.adapters.redis.session import Session
from video_reclaim.rules.listing import RedisLook
from video_reclaim.rules.platform import (
    COUNTED_KEY,
    HEARTBEAT_SEEN_KEY,
    WAITING_KEY,
    Job,
    cancel_key,
    job_lock_key,
    reclaims_key,
    silence_key,
    status_key,
)
from video_reclaim.rules.reclaiming import History
from video_reclaim.rules.staleness import Heartbeat, Strike, Video
from video_reclaim.rules.waiting import QueueLook, Wait, Waits
from video_reclaim.settings import Redis, read

RECLAIMS_REMEMBERED_S = 7 * 86_400
_SEEN_REMEMBERED_S = 30 * 86_400
_WAITS_REMEMBERED_S = 86_400
_MAX_COUNTED = 1_000
_COMMANDS_PER_CALL = 5_000
_QUEUE_EMPTY_FIELD = "queue-empty"
_LOOKED_AT_FIELD = "looked-at"

Command = tuple[str | int | float, ...]


class Heartbeats:
    """What the functions read and write in Redis."""

    def __init__(self, settings: Redis, **session: float) -> None:
        self._session = Session(settings, **session)

    def look(self, videos: Sequence[Video]) -> RedisLook | None:
        """Read what a listing needs besides the heartbeats of further pages, in one round trip."""
        beating = [video for video in videos if video.has_heartbeat]
        waiting = [video for video in videos if video.waits]

        def conversation(client: redis.Redis) -> RedisLook:
            pipeline = client.pipeline(transaction=False)
            pipeline.ttl(HEARTBEAT_SEEN_KEY)
            pipeline.zrange(COUNTED_KEY, 0, _MAX_COUNTED - 1)
            pipeline.hgetall(WAITING_KEY)
            keys = [cancel_key(video.tenant_id, video.id) for video in waiting]
            chunks = [keys[i : i + _COMMANDS_PER_CALL] for i in range(0, len(keys), _COMMANDS_PER_CALL)]
            for chunk in chunks:
                pipeline.mget(chunk)
            ask_heartbeats(pipeline, beating)
            seen_ttl_s, counted, waits, *answers = execute(pipeline)
            counted, waits = counted or [], waits or {}
            cancelled = [value for answer in answers[: len(chunks)] for value in answer]
            heartbeats = read_heartbeats(client, beating, answers[len(chunks) :])
            return RedisLook(
                heartbeats=heartbeats,
                seen_ttl_s=seen_ttl_s,
                counted=values.parse_counted(counted),
                waits=values.parse_waits(waits),
                waits_looked_at_s=values.parse_number(waits.get(_LOOKED_AT_FIELD.encode())),
                queue_empty_since_s=values.parse_number(waits.get(_QUEUE_EMPTY_FIELD.encode())),
                just_retried={v.id for v, key in zip(waiting, cancelled, strict=True) if key is not None},
            )

        return self._session.ask("heartbeats", conversation)

    def look_on(self, videos: Sequence[Video]) -> dict[int, Heartbeat] | None:
        """Read the heartbeats of a further page of a listing, in one round trip."""
        beating = [video for video in videos if video.has_heartbeat]

        def conversation(client: redis.Redis) -> dict[int, Heartbeat]:
            pipeline = client.pipeline(transaction=False)
            ask_heartbeats(pipeline, beating)
            return read_heartbeats(client, beating, execute(pipeline))

        return self._session.ask("heartbeats", conversation)

    def read_and_count(self, videos: Sequence[Video], claims: Mapping[int, str]) -> History:
        """Return heartbeats and counts in one round trip, and count the reclaims that are about to happen.

        The claim that a reclaim ends is the unit: a retry, another execution and whoever goes on after a crash
        count nothing twice. The wait of a video whose message may be lost is read and deleted at once, so that
        only one execution can send the message again.

        Args:
            videos: rows as just read, tenants known.
            claims: the claim to count, by video id; it starts with the identity of the upload. A video without
                one was counted when it was taken from its worker.
        """
        beating = [video for video in videos if video.has_heartbeat]
        waiting = [video for video in videos if video.waits]

        def conversation(client: redis.Redis) -> History:
            waits = _take_waits(client, waiting)
            pipeline = client.pipeline(transaction=False)
            pipeline.exists(HEARTBEAT_SEEN_KEY)
            counted = {f"{v.tenant_id}:{v.id}": v.now_s for v in videos if v.id in claims}
            if counted:
                pipeline.zadd(COUNTED_KEY, counted)
            for video in videos:
                key, since_s = reclaims_key(video.tenant_id, video.id), video.now_s - RECLAIMS_REMEMBERED_S
                if video.id in claims:
                    pipeline.zadd(key, {claims[video.id]: video.now_s}, nx=True)
                    pipeline.expire(key, RECLAIMS_REMEMBERED_S)
                pipeline.zrange(key, since_s, "+inf", byscore=True)
            ask_heartbeats(pipeline, beating)
            seen, *answers = execute(pipeline)
            history = History(waits=waits, seen_before=bool(seen))
            rest = iter(answers[1:] if counted else answers)
            for video in videos:
                added = next(rest) if video.id in claims else 0
                if video.id in claims:
                    next(rest)  # the answer to EXPIRE
                found = next(rest)
                if found is None:  # not a sorted set: the count is unknown
                    continue
                claim, members = claims.get(video.id), [member.decode(errors="replace") for member in found]
                same_upload = [member for member in members if member.startswith(f"{video.upload} ")]
                # A video between database and queue has counted the current reclaim already.
                earlier = sum(member != claim for member in same_upload) - (video.handoff_token is not None)
                history.earlier_reclaims[video.id] = max(0, earlier)
                if added:
                    history.newly_counted.add(video.id)
            history.heartbeats.update(read_heartbeats(client, beating, list(rest)))
            return history

        unknown = History(newly_counted=set(claims), answered=False)
        if not videos:
            return History()
        return self._session.ask("heartbeats and reclaims", conversation) or unknown

    def undo_counts(self, videos: Sequence[Video], claims: Mapping[int, str]) -> bool:
        """Undo the counts of videos that were not reclaimed; return whether Redis took it.

        Without Redis the count stays one too high.
        """
        commands = [("ZREM", reclaims_key(video.tenant_id, video.id), claims[video.id]) for video in videos]
        return self._send("undo counts", commands)

    def end_counts(self, videos: Iterable[tuple[int, int]]) -> bool:
        """Delete the counts of videos, given as tenant id and video id; return whether Redis took it."""
        commands: list[Command] = []
        for tenant_id, video_id in videos:
            commands.append(("DEL", reclaims_key(tenant_id, video_id)))
            commands.append(("ZREM", COUNTED_KEY, f"{tenant_id}:{video_id}"))
        return self._send("end counts", commands)

    def forget_status(self, videos: Sequence[Video]) -> bool:
        """Delete the platform's cache of the public status, so that users see the row; return whether it went."""
        return self._send(
            "forget status", [("DEL", status_key(video.tenant_id, video.id)) for video in videos]
        )

    def record(
        self, videos: Sequence[Video], strikes: Mapping[int, Strike | None], look: RedisLook, *, memory_s: int
    ) -> bool:
        """Write strikes, which expire after ``memory_s`` seconds, and the mark that heartbeats were seen.

        Return whether Redis took them. A strike that is not recorded delays a reclaim and never causes one.
        """
        commands: list[Command] = []
        for video in videos:
            if video.id in strikes:
                key, strike = silence_key(video.tenant_id, video.id), strikes[video.id]
                value = values.write_strike(strike) if strike else ""
                commands.append(("SET", key, value, "EX", memory_s) if strike else ("DEL", key))
        seen = any(heartbeat.present for heartbeat in look.heartbeats.values())
        if seen and look.seen_ttl_s < _SEEN_REMEMBERED_S - 86_400:
            commands.append(("SET", HEARTBEAT_SEEN_KEY, "1", "EX", _SEEN_REMEMBERED_S))
        return self._send("strikes", commands)

    def record_waits(self, waits: Waits, look: RedisLook, queue: QueueLook | None) -> bool:
        """Write the waits that have started, those of lost messages, and since when the queue is empty.

        What has ended is deleted.

        Return whether Redis took them. A wait that is not recorded starts again, which only delays.
        """
        commands: list[Command] = [
            ("HSET", WAITING_KEY, video_id, values.write_wait(waits.by_id[video_id]))
            for video_id in waits.started
        ]
        commands += [
            ("HSET", WAITING_KEY, video_id, values.write_wait(replace(waits.by_id[video_id], lost=True)))
            for video_id in waits.lost
        ]
        commands += [("HDEL", WAITING_KEY, video_id) for video_id in waits.ended]
        if queue and queue.empty_since_s is not None:
            commands.append(("HSET", WAITING_KEY, _QUEUE_EMPTY_FIELD, f"{queue.empty_since_s:.3f}"))
        elif look.queue_empty_since_s is not None:
            commands.append(("HDEL", WAITING_KEY, _QUEUE_EMPTY_FIELD))
        if waits.by_id:
            commands.append(("HSET", WAITING_KEY, _LOOKED_AT_FIELD, f"{waits.now_s:.3f}"))
            commands.append(("EXPIRE", WAITING_KEY, _WAITS_REMEMBERED_S))
        elif look.waits_looked_at_s is not None:
            commands.append(("HDEL", WAITING_KEY, _LOOKED_AT_FIELD))
        return self._send("waits", commands)

    def prepare_jobs(self, jobs: Sequence[Job]) -> dict[int, int] | None:
        """Delete the locks that dead workers left, and return for how long to delay messages, in seconds.

        A worker that receives a message while the platform's ``cancel_requested`` key exists drops it, so such a
        message is delayed by what is left of the key's life. Without an answer, None, nothing is to be delayed: a
        message that is dropped is found lost later.
        """

        def conversation(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for job in jobs:
                pipeline.pttl(cancel_key(job.tenant_id, job.video_id))
            pipeline.delete(*[job_lock_key(job.video_id) for job in jobs])
            return pipeline.execute()

        answers = self._session.ask("job keys", conversation) if jobs else []
        if answers is None:
            return None
        return {job.video_id: -(-left // 1000) for job, left in zip(jobs, answers, strict=False) if left > 0}

    def _send(self, what: str, commands: Sequence[Command]) -> bool:
        def conversation(client: redis.Redis) -> bool:
            for start in range(0, len(commands), _COMMANDS_PER_CALL):
                pipeline = client.pipeline(transaction=False)
                for command in commands[start : start + _COMMANDS_PER_CALL]:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                pipeline.execute()
            return True

        return not commands or bool(self._session.ask(what, conversation))


def _take_waits(client: redis.Redis, videos: Sequence[Video]) -> dict[int, Wait]:
    """Read and delete the waits of videos in one transaction.

    A wait is left out if a user has retried the video since the listing: the retry has sent a message.
    """
    if not videos:
        return {}
    ids = [video.id for video in videos]
    pipeline = client.pipeline(transaction=True)
    pipeline.hmget(WAITING_KEY, [str(video_id) for video_id in ids])
    pipeline.hdel(WAITING_KEY, *[str(video_id) for video_id in ids])
    pipeline.mget([cancel_key(video.tenant_id, video.id) for video in videos])
    found, _deleted, retried = pipeline.execute()
    waits = {
        video_id: values.parse_wait(value)
        for video_id, value, retry in zip(ids, found, retried, strict=True)
        if retry is None
    }
    return {video_id: wait for video_id, wait in waits.items() if wait is not None}


@cache
def heartbeats() -> Heartbeats:
    """Return the Redis that the environment names. Raises InvalidSetting."""
    return Heartbeats(read(Redis))
