"""The operator's command: ``python -m ops COMMAND --stage NAME``, installed as ``video-reclaim``.

It uses AWS alone, with the credentials of the environment or of a profile; in a checkout, ``--stage local`` is the
stack that `make up` started. It never connects to the database or to Redis.
"""

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = _PACKAGE.name != "ops"
"""Installed from the wheel, as video_reclaim_ops beside video_reclaim_cdk; if not, this is a checkout."""
PROGRAM = "video-reclaim" if INSTALLED else ".venv/bin/python -m ops"
"""What an operator types before a command."""
ROOT = _PACKAGE.parent
"""The checkout."""
RUNBOOK = (_PACKAGE / "runbook.md" if INSTALLED else ROOT / "docs" / "runbook.md").as_uri()
"""Address of the runbook; each alarm has the one that the stage names."""

# In the Lambdas functions/ is the root of the code; here the same modules must be found without being copied.
_FUNCTIONS = str(_PACKAGE.parent / ("video_reclaim_cdk/functions" if INSTALLED else "functions"))
if _FUNCTIONS not in sys.path:
    sys.path.append(_FUNCTIONS)
