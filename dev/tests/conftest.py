"""Fixtures of the tests of what is beside the product."""

from dev.testing.emulator_bench import bench, emulator
from dev.testing.protocol_stage import stage, timeline, timing

__all__ = ["bench", "emulator", "stage", "timeline", "timing"]


def pytest_collection_modifyitems(items):
    """Start the longest tests first: at the end, the other processes would have nothing left to do beside them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
