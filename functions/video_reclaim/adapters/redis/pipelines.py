"""Commands that are sent together: the questions about heartbeats, and errors of single commands."""

from collections.abc import Sequence
from typing import Any

import redis

from video_reclaim.adapters.redis import values
from video_reclaim.rules.platform import heartbeat_key, silence_key
from video_reclaim.rules.staleness import Heartbeat, Video

_VIDEOS_PER_CALL = 2_500
_COMMANDS_OF_HEARTBEATS, _EXEC = 4, 3


def execute(pipeline: Any) -> list[Any]:  # noqa: ANN401 (redis-py's pipeline)
    """Run a pipeline; a key of another type than expected gives None, so that it harms nothing else."""
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    for index, answer in enumerate(answers):
        if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
            answers[index] = None
        elif isinstance(answer, Exception):
            raise answer
    return answers


def ask_heartbeats(pipeline: Any, videos: Sequence[Video]) -> None:  # noqa: ANN401 (redis-py's pipeline)
    """Ask for the values of both keys, and at the same moment how many heartbeat keys exist."""
    for start in range(0, len(videos), _VIDEOS_PER_CALL):
        some = videos[start : start + _VIDEOS_PER_CALL]
        beats = [heartbeat_key(video.tenant_id, video.id) for video in some]
        pipeline.execute_command("MULTI")
        pipeline.mget(beats + [silence_key(video.tenant_id, video.id) for video in some])
        pipeline.exists(*beats)
        pipeline.execute_command("EXEC")


def read_heartbeats(
    client: redis.Redis, videos: Sequence[Video], answers: Sequence[Any]
) -> dict[int, Heartbeat]:
    """Read heartbeats from what `ask_heartbeats` asked.

    MGET gives nothing for a key that holds no text. Such a key exists all the same, and its heartbeat is
    unknown. Only if more keys exist than were read, each missing heartbeat is asked about once more.
    """
    beats: list[bytes | None] = []
    strikes: list[bytes | None] = []
    existing = 0
    for texts, number in answers[_EXEC::_COMMANDS_OF_HEARTBEATS]:
        beats += texts[: len(texts) // 2]
        strikes += texts[len(texts) // 2 :]
        existing += number
    heartbeats = {
        video.id: Heartbeat(beat is not None, values.parse_strike(strike))
        for video, beat, strike in zip(videos, beats, strikes, strict=True)
    }
    missing = [video for video in videos if not heartbeats[video.id].present]
    if existing > len(videos) - len(missing):
        pipeline = client.pipeline(transaction=False)
        for video in missing:
            pipeline.exists(heartbeat_key(video.tenant_id, video.id))
        for video, exists in zip(missing, pipeline.execute(), strict=True):
            if exists:
                heartbeats[video.id] = Heartbeat(None, heartbeats[video.id].strike)
    return heartbeats
