"""Scaling policies against arrival traces: the proof behind the scaling decision."""

import sys
from pathlib import Path

# In the Lambdas functions/ is the root of the code; here the same modules must be found without being copied.
_FUNCTIONS = str(Path(__file__).resolve().parents[2] / "functions")
if _FUNCTIONS not in sys.path:
    sys.path.append(_FUNCTIONS)
