"""Files of the local stack: atomic JSON files and temporary folders."""

import contextlib
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dev.local.watchdog import remove_folder, watchdog

_PREFIX = "video-reclaim-"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically: a reader sees the old content or the new, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)


def make_scratch_folder() -> Path:
    """Make a temporary folder that every user may traverse: as root, PostgreSQL runs as another user.

    The watchdog removes it when this program ends.
    """
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{secrets.token_hex(6)}"
    watchdog.watch_folder(folder)
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask is
    return folder


def remove_scratch_folder(folder: Path) -> None:
    """Remove a folder that `make_scratch_folder` made; any other folder is left alone."""
    if folder.name.startswith(_PREFIX):
        remove_folder(folder)
        watchdog.folder_removed(folder)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a temporary folder during a ``with`` block; see `make_scratch_folder`."""
    folder = make_scratch_folder()
    try:
        yield folder
    finally:
        remove_scratch_folder(folder)
