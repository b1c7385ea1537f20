"""One JSON object a line, on standard output, which is where Lambda collects logs from."""

import json
import os


def event(name: str, **details: object) -> None:
    """Log what was decided or done.

    Args:
        name: what happened, in a word or two.
        details: JSON values; never a secret, never a whole video.
    """
    line = {"event": name, "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"), **details}
    print(json.dumps(line, separators=(",", ":"), default=str), flush=True)
