"""The fencing token that a reclaimed video carries until its message is in the queue."""

import hashlib

from video_reclaim.rules.platform import HANDOFF_PREFIX, MAX_HOLDER_CHARACTERS

_HASH_CHARACTERS = 12
_NAME_CHARACTERS = MAX_HOLDER_CHARACTERS - len(HANDOFF_PREFIX) - _HASH_CHARACTERS - 1  # 1 for the dot


def token_for(execution_arn: str) -> str:
    """Return the token of an execution, which fits into ``leased_by`` after the prefix.

    It is the same for every retry and redrive, which so find their own work. It starts with the execution's name,
    which an operator can look up. The hash keeps apart executions whose names start alike. Raises ValueError.
    """
    name = execution_name(execution_arn)
    if not name or not execution_arn.startswith("arn:"):
        raise ValueError(f"not the ARN of an execution: {execution_arn!r}")
    digest = hashlib.sha256(execution_arn.encode()).hexdigest()
    return f"{name[:_NAME_CHARACTERS]}.{digest[:_HASH_CHARACTERS]}"


def execution_name(execution_arn: str) -> str:
    """Return the name of an execution, which is the last part of its ARN."""
    return execution_arn.rpartition(":")[2]
