"""Where the files are that the constructs deploy: beside this package in the repository, inside it when installed."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).parent
INSTALLED = (_PACKAGE / "functions").is_dir()
ROOT = _PACKAGE if INSTALLED else _PACKAGE.parent
"""Folder with functions/, state_machines/ and requirements/."""

CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "video-reclaim"
    if INSTALLED
    else ROOT / "build"
)
"""Folder for layers, which are built once: an installed package may not be writable."""
