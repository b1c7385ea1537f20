"""pg-boss beside the product: installed on first use below build/, never among the project's own packages."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.local import ROOT

HOME = ROOT / "build" / "bench" / "pg-boss"
PACKAGE = "pg-boss@12.38.0"
_PROGRAMS = Path(sys.executable).parent


def install() -> None:
    """Install it, unless that was done before."""
    if (HOME / ".installed").exists():
        return
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "package.json").write_text('{"private": true}\n')
    _run([str(_PROGRAMS / "npm"), "install", "--no-audit", "--no-fund", "--loglevel=error", PACKAGE])
    (HOME / ".installed").touch()


def expire(dsn: str, rows: int, width: int) -> float:
    """Let it put back as many stuck rows of so many bytes; return the seconds that its driver reports.

    Raises RuntimeError with its own words if it failed or put back another number of rows.
    """
    driver = Path(__file__).with_suffix(".mjs")
    told = json.loads(
        _run([str(_PROGRAMS / "node"), str(driver), dsn, str(rows), str(width)]).splitlines()[-1]
    )
    if told["rows"] != rows:
        raise RuntimeError(f"pg-boss put {told['rows']} of {rows} rows back")
    return float(told["seconds"])


def _run(command: Sequence[str]) -> str:
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {ended.stderr.strip()[-2000:]}")
    return ended.stdout
