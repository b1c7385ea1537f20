"""The local stack: PostgreSQL, Valkey and an AWS emulator with this app deployed into it, on one machine."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
