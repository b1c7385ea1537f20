"""The handoff lease: who is carrying a reclaimed video from the database to the queue."""

import hashlib

_NAME_CHARACTERS = 43
_HASH_CHARACTERS = 12  # with the prefix and the dot, 64 in all: the width of leased_by


def token_for(execution_arn: str) -> str:
    """Name the execution in the 56 characters that ``leased_by`` leaves after its prefix.

    The same execution always gives the same token, so that a retried or redriven step knows its own. It
    begins with the execution's name, which an operator who finds it in a row can look up in the console; the
    hash tells apart executions of other state machines that share the name or its beginning.

    Raises:
        ValueError: not an execution's ARN.
    """
    name = execution_arn.rpartition(":")[2]
    if not name or not execution_arn.startswith("arn:"):
        raise ValueError(f"not the ARN of an execution: {execution_arn!r}")
    digest = hashlib.sha256(execution_arn.encode()).hexdigest()
    return f"{name[:_NAME_CHARACTERS]}.{digest[:_HASH_CHARACTERS]}"
