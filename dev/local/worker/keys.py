"""What a worker reads and writes in Redis; every call tolerates a Redis that does not answer."""

from contextlib import suppress

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dev.local.worker.records import Job, Pace

PROGRESS_TTL_S, LOCK_S = 300, 14_400


class Keys:
    """The worker's access to Redis.

    Attributes:
        cut_off: Redis can't be reached.
    """

    def __init__(self, url: str, pace: Pace) -> None:
        """Prepare; nothing is connected yet."""
        self.cut_off = False
        self._pace = pace
        self._redis = redis.Redis.from_url(
            url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )

    def beat(self, job: Job, *, progress: bool = False) -> bool:
        """Set the heartbeat, as the thread does or as a progress record does; return whether Redis accepted it."""
        ttl_s = PROGRESS_TTL_S if progress else self._pace.beat_ttl_s
        return self._do("SET", job.heartbeat_key, "1", "PX", self._pace.real_ms(ttl_s))

    def end_beat(self, job: Job) -> bool:
        """Delete the heartbeat, whoever has set it; return whether there was one."""
        return self._do("DEL", job.heartbeat_key)

    def cancelled(self, job: Job) -> bool:
        """Return whether the user's retry has set the key; without an answer it counts as not set."""
        return self._do("EXISTS", job.cancel_key)

    def lock(self, job: Job) -> bool:
        """Take the job's lock; return whether it was free. Without an answer it counts as taken."""
        return self._do("SET", job.lock_key, "1", "NX", "PX", self._pace.real_ms(LOCK_S))

    def renew_lock(self, job: Job) -> bool:
        """Renew the lock's time to live; return whether it was still there."""
        return self._do("PEXPIRE", job.lock_key, self._pace.real_ms(LOCK_S))

    def unlock(self, job: Job) -> bool:
        """Delete the lock, whoever has taken it; return whether there was one."""
        return self._do("DEL", job.lock_key)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _do(self, *command: str | int) -> bool:
        if self.cut_off:
            return False
        with suppress(redis.RedisError, OSError):
            return bool(self._redis.execute_command(*command))  # type: ignore[no-untyped-call]
        return False
