"""The operator's command: ``python -m ops COMMAND --stage NAME``.

It uses AWS alone, with the credentials of the environment or of a profile; with ``--stage local``, the local stack
that `make up` started. It never connects to the database or to Redis.
"""

import sys
from pathlib import Path

# In the Lambdas functions/ is the root of the code; here the same modules must be found without being copied.
_FUNCTIONS = str(Path(__file__).resolve().parents[1] / "functions")
if _FUNCTIONS not in sys.path:
    sys.path.append(_FUNCTIONS)
