"""The peers' environments: installed on first use below build/, never among the project's own packages."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[2] / "build" / "peers"
CHANCY = ["chancy==0.26.0", "psycopg[binary]"]
PG_BOSS = "pg-boss@12.38.0"


def chancy() -> list[str]:
    """Return the command that times Chancy's recovery."""
    home = HOME / "chancy"
    python = str(home / "bin" / "python")
    if not (home / ".installed").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *CHANCY])
        (home / ".installed").touch()
    return [python, str(HERE / "chancy_peer.py")]


def pg_boss() -> list[str]:
    """Return the command that times pg-boss's expiry."""
    home, programs = HOME / "pg-boss", Path(sys.executable).parent
    if not (home / ".installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}\n')
        install = ["install", "--no-audit", "--no-fund", "--loglevel=error", PG_BOSS]
        _run([str(programs / "npm"), *install], cwd=home)
        (home / ".installed").touch()
    return [str(programs / "node"), str(HERE / "pgboss_peer.mjs")]


def time_peer(command: Sequence[str], dsn: str, rows: int, width: int) -> float:
    """Run a peer's driver once; return the seconds that it reports.

    Raises RuntimeError with its own words if it failed or put back another number of rows.
    """
    cwd = HOME / "pg-boss" if command[-1].endswith(".mjs") else None
    told = json.loads(_run([*command, dsn, str(rows), str(width)], cwd=cwd).strip().splitlines()[-1])
    if told["rows"] != rows:
        raise RuntimeError(f"{command[-1]} put {told['rows']} of {rows} rows back")
    return float(told["seconds"])


def _run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} …: {ended.stderr.strip()[-2000:]}")
    return ended.stdout
