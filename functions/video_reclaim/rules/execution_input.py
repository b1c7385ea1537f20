"""The input of an execution, all of it optional: what a caller asks for."""

from typing import Annotated, Self

import msgspec

from video_reclaim.conversion import Malformed, from_builtins
from video_reclaim.errors import InvalidInput
from video_reclaim.rules.platform import INSTANCE_ID

MAX_VIDEOS_PER_RUN = 10_000
"""The most videos that one execution reclaims; the next execution takes the rest."""

AtMost100 = msgspec.Meta(max_length=100)
VideoId = Annotated[int, msgspec.Meta(ge=1)]
InstanceId = Annotated[str, msgspec.Meta(pattern=f"^{INSTANCE_ID}$")]


class ExecutionInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the caller of an execution asks for.

    Attributes:
        dry_run: report what would be reclaimed and decided; write nothing.
        limit: the most videos to reclaim, 1 to 10,000.
        release: ids of up to 100 quarantined videos to send back to work.
        terminated: ids of up to 100 EC2 instances that were terminated; what they had claimed goes back to work.
    """

    dry_run: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_VIDEOS_PER_RUN)] = MAX_VIDEOS_PER_RUN
    release: Annotated[list[VideoId], AtMost100] = msgspec.field(default_factory=list)
    terminated: Annotated[list[InstanceId], AtMost100] = msgspec.field(default_factory=list)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read an execution's input.

        Raises:
            InvalidInput: a field is unknown, of the wrong type or out of range; the message names it.
        """
        try:
            return from_builtins(value, cls)
        except Malformed as exc:
            raise InvalidInput(f"{exc.field or 'input'}: {exc.problem}") from exc
