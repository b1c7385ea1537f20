"""The measured figures of the documents: ``python -m dev.bench`` (`make bench`)."""

import sys
from pathlib import Path

# The functions' own root, as Lambda has it.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "functions"))
