"""``python -m dev.local up|down``."""

import sys

from dev.local.commands import main

sys.exit(main())
