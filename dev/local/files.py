"""Files of the local stack: atomic JSON files and temporary folders."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCRATCH_PREFIX = "video-reclaim-"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically: a reader sees the old content or the new, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(path)


def make_scratch_folder() -> Path:
    """Make a temporary folder that every user may traverse: as root, PostgreSQL runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX))
    folder.chmod(0o755)
    return folder


def remove_scratch_folder(folder: Path) -> None:
    """Remove a folder that `make_scratch_folder` made; any other folder is left alone."""
    if folder.name.startswith(_SCRATCH_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
