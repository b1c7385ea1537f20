"""A worker's times, and a received message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of the contract, and their scale.

    Attributes:
        time_scale: real seconds per second of the contract; with 1/60 a minute lasts a second.
        lease_s: length of a lease.
        beat_every_s: seconds between heartbeats.
        beat_ttl_s: time to live of a heartbeat.
        encode_s: duration of one video.
        slowness: factor for the time between heartbeats and the duration of a video.
    """

    time_scale: float = 1.0
    lease_s: float = 14_400
    beat_every_s: float = 20
    beat_ttl_s: float = 60
    encode_s: float = 60
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


@dataclass(frozen=True, slots=True)
class Job:
    """A received message.

    Attributes:
        video_id: the video to encode.
        tenant_id: the tenant of the video, which is part of the heartbeat's key.
        attempt: 1 for the message of the upload, and for old messages without the field.
        receipt: the receipt handle of the message.
    """

    video_id: int
    tenant_id: int
    attempt: int
    receipt: str

    @property
    def heartbeat_key(self) -> str:
        """The Redis key of the video's heartbeat."""
        return f"tenant:{self.tenant_id}:video:{self.video_id}:heartbeat"
