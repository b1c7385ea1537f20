"""Check that ministack's source is the one that a correction was written against."""

# ruff: noqa: ANN401 - ministack's objects have no types

import hashlib
import inspect
from typing import Any


class EmulatorChanged(RuntimeError):
    """Ministack is not the version that a correction was written against."""


def fingerprint(source: str) -> str:
    """Return the fingerprint of ``source`` that `reviewed` compares."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def reviewed(owner: Any, name: str, expected: str) -> Any:
    """Return the function ``owner.name`` of ministack, which a correction replaces.

    Raises:
        EmulatorChanged: the fingerprint of its source is not ``expected``.
    """
    found = getattr(owner, name, None)
    seen = fingerprint(inspect.getsource(found)) if callable(found) else "missing"
    if seen != expected:
        raise EmulatorChanged(
            f"the source of ministack's {owner.__name__}.{name} has fingerprint {seen}, not {expected}: "
            "review it, adapt the correction, then update the fingerprint"
        )
    return found
