"""Fixtures of the tests of what is beside the product."""

from dev.testing.emulator_bench import bench, emulator, strict_bench, strict_emulator
from dev.testing.protocol_stage import stage, timing

__all__ = ["bench", "emulator", "stage", "strict_bench", "strict_emulator", "timing"]
