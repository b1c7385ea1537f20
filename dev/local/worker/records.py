"""A worker's times, the habits of the platform's own workers, and a received message."""

from dataclasses import dataclass, field
from typing import Any, Literal

ClaimPath = Literal["leased", "unleased", "careless"]


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of the contract, and their scale.

    Attributes:
        time_scale: real seconds per second of the contract; with 1/60 a minute lasts a second.
        lease_s: length of a lease.
        beat_every_s: seconds between heartbeats.
        beat_ttl_s: time to live of a heartbeat.
        encode_s: duration of one video.
        lock_s: time to live of a job's lock; see `Habits`.
        renew_lock_every_s: seconds between renewals of the lock.
        slowness: factor for the time between heartbeats and the duration of a video.
    """

    time_scale: float = 1.0
    lease_s: float = 14_400
    beat_every_s: float = 20
    beat_ttl_s: float = 60
    encode_s: float = 60
    lock_s: float = 14_400
    renew_lock_every_s: float = 300
    slowness: float = 1.0

    @property
    def lease_real_s(self) -> float:
        """Length of a lease in real seconds."""
        return self.lease_s * self.time_scale

    @property
    def beat_every_real_s(self) -> float:
        """Real seconds between heartbeats."""
        return self.beat_every_s * self.time_scale * self.slowness

    @property
    def beat_ttl_real_ms(self) -> int:
        """Time to live of a heartbeat in real milliseconds."""
        return max(1, round(self.beat_ttl_s * self.time_scale * 1000))

    @property
    def encode_real_s(self) -> float:
        """Duration of one video in real seconds."""
        return self.encode_s * self.time_scale * self.slowness

    @property
    def lock_real_ms(self) -> int:
        """Time to live of a lock in real milliseconds."""
        return max(1, round(self.lock_s * self.time_scale * 1000))

    @property
    def renew_lock_every_real_s(self) -> float:
        """Real seconds between renewals of a lock."""
        return self.renew_lock_every_s * self.time_scale


@dataclass(frozen=True, slots=True)
class Habits:
    """What the platform's own workers do beyond the contract; each is off unless switched on.

    Attributes:
        requeues_refused: when its claim is refused, the worker takes a PROCESSING video from whoever holds it
            (UPLOADED, no lease) and sends a message again.
        beats_early: the heartbeat begins before the claim, and its key is deleted when the worker is through
            with the message, even if the claim was refused.
        honours_cancel: while ``tenant:{t}:video:{v}:cancel_requested`` is set the worker deletes a message
            and does nothing more, and stops an encode without writing anything.
        job_lock: the older path: it takes ``job:encode:{v}:lock``, marks the video PROCESSING without a lease
            (and goes on if it is PROCESSING already), and deletes the message at the end; without the lock it
            leaves the message, and killed it leaves the lock behind.
        request_ids: ``leased_by`` is ``{name}-{request id}``, another one for each message; the name is the
            platform's WORKER_ID, for which an EC2 instance's id is recommended.
    """

    requeues_refused: bool = False
    beats_early: bool = False
    honours_cancel: bool = False
    job_lock: bool = False
    request_ids: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A received message.

    Attributes:
        video_id: the video to encode.
        tenant_id: the tenant of the video, which is part of the Redis keys.
        attempt: 1 for the message of the upload, and for old messages without the field.
        receipt: the receipt handle of the message.
        message: the id of the message.
        request: the id that the worker gave to this receipt of the message; see `Habits.request_ids`.
        body: the message as it was sent.
    """

    video_id: int
    tenant_id: int
    attempt: int
    receipt: str
    message: str
    request: str
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def heartbeat_key(self) -> str:
        """The Redis key of the video's heartbeat."""
        return f"tenant:{self.tenant_id}:video:{self.video_id}:heartbeat"

    @property
    def cancel_key(self) -> str:
        """The Redis key that a user's retry sets."""
        return f"tenant:{self.tenant_id}:video:{self.video_id}:cancel_requested"

    @property
    def lock_key(self) -> str:
        """The Redis key that locks the video on the older path."""
        return f"job:encode:{self.video_id}:lock"
