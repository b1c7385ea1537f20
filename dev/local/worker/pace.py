"""A worker's times and manners, and a received message."""

from dataclasses import dataclass
from typing import Any, Literal

Manner = Literal["contract", "fast", "older"]
"""How a worker goes about a message.

``contract``: as `docs/worker-contract.md` asks: it claims under a lease, beats, writes the end, and refuses
whatever is not UPLOADED. It deletes the key only after a fenced end that was written.

``fast``: the platform's own worker on its fast path. It beats before the claim and deletes the key on its way out,
even when its claim was refused; then it takes the video from whoever holds it and sends another message. Each
progress record sets the heartbeat's time to live to 300 s. While ``cancel_requested`` is set it deletes a message
and does nothing more; it looks for that key again when it has encoded. ``leased_by`` is its name and a request id.

``older``: the platform's older path. As ``fast``, but it takes ``job:encode:{v}:lock``, marks the video PROCESSING
without touching the columns of the lease (and goes on if it is PROCESSING already), holds its message while it
encodes, and deletes it at the end. Without the lock it gives the message back; killed it leaves the lock behind.
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of the contract, in its seconds."""

    time_scale: float = 1  # real seconds per second of the contract
    lease_s: float = 14_400  # how long a lease lasts
    beat_every_s: float = 20  # between heartbeats
    encode_s: float = 60  # how long a video takes

    def real_s(self, seconds: float) -> float:
        """Return how long a time of the contract really is."""
        return seconds * self.time_scale

    def real_ms(self, seconds: float) -> int:
        """Return the same in milliseconds, at least 1."""
        return max(1, round(self.real_s(seconds) * 1000))


@dataclass(frozen=True, slots=True)
class Job:
    """A received message."""

    receipt: str  # the receipt handle of the message
    message: str  # the id of the message
    request: str  # the id that the worker gave to this receipt of the message
    body: dict[str, Any]  # the message as it was sent

    @property
    def video_id(self) -> int:
        """The video to encode."""
        return int(self.body["video_id"])

    def key(self, name: str) -> str:
        """The Redis key of this name that belongs to the video."""
        return f"tenant:{self.body['tenant_id']}:video:{self.video_id}:{name}"

    @property
    def lock_key(self) -> str:
        """The Redis key that locks the video on the older path."""
        return f"job:encode:{self.video_id}:lock"
