"""Scaling policies against arrival traces: the proof behind the scaling decision."""

import dev.bench  # noqa: F401 - puts functions/ on the path
