"""The listing of a very large backlog: its duration, its memory and its counts.

ListStaleVideos runs in a process of its own, as in Lambda.
"""

import json
import os
import subprocess
import sys
from typing import Any

from dev.bench import academy
from dev.bench.figures import Figure, Say, Section
from dev.bench.servers import Servers, servers
from dev.definition import ROOT, synthesize

TITLE = "Listing in bounded memory"

ROWS, STALE = 1_000_000, 2_000
USUAL_ROWS = 10_000

_EVENT = {
    "input": {},
    "run": {},
    "execution": "arn:aws:states:us-east-1:000000000000:execution:video-reclaim:bench",
}
# On Linux VmHWM is the peak of this process alone; ru_maxrss includes the one that started it.
_PROBE = """
import json, resource, sys, time
import list_stale_videos
seconds = []
for _ in range(int(sys.argv[2])):
    began_s = time.perf_counter()
    run = list_stale_videos.handler(json.loads(sys.argv[1]), None)["run"]
    seconds.append(time.perf_counter() - began_s)
try:
    peak_kib = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
except OSError:
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(json.dumps({"seconds": seconds, "peak_mb": peak_kib * 1024 / 1e6, "run": run}))
"""


def measure(*, quick: bool, say: Say) -> Section:
    """List rows in PROCESSING of which some are stale; the workers of all others have a heartbeat."""
    rows = 50_000 if quick else ROWS
    with servers() as here:
        usual = _list(here, USUAL_ROWS, 4 if quick else 16)
        large = _list(here, rows, 1 if quick else 3)
    for size, told in ((USUAL_ROWS, usual), (rows, large)):
        say(f"{size} rows: {min(told['seconds']):.3f} s, {told['peak_mb']:.0f} MB")
    found = large["run"]["stale"].get("leaseExpired", 0), large["run"]["spared"].get("beating", 0)
    wrong = abs(found[0] - STALE) + abs(found[1] - (rows - STALE))
    name = f"{rows:,} rows, {STALE:,} of them stale"
    figures = [
        Figure("seconds", f"{name}: duration", "s", large["seconds"], 60),
        Figure("memory", f"{name}: memory of the function at its peak", "MB", [large["peak_mb"]], 200),
        Figure("wrong", f"{name}: videos counted wrongly", "", [wrong], 0),
        Figure("usual_seconds", f"{USUAL_ROWS:,} rows: duration", "s", usual["seconds"][1:]),
        Figure("usual_memory", f"{USUAL_ROWS:,} rows: memory at its peak", "MB", [usual["peak_mb"]]),
    ]
    return Section("listing", TITLE, figures)


def _list(here: Servers, rows: int, calls: int) -> dict[str, Any]:
    """Return seconds, memory and the record of several calls in one process. Raises RuntimeError if it failed."""
    academy.fill(here.postgres.dsn, processing=rows, stale=STALE)
    academy.beat(here.valkey.url, range(STALE + 1, rows + 1))
    settings = {
        **_defaults(),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "functions"),
        "DATABASE_PORT": str(here.postgres.port),
        "DATABASE_STATEMENT_SECONDS": "600",
        "REDIS_URL": here.valkey.url,
    }
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps(_EVENT), str(calls)],
        env=settings,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise RuntimeError(f"ListStaleVideos failed: {ended.stderr.strip()[-2000:]}")
    told: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return told


def _defaults() -> dict[str, str]:
    """Return what the stage ``local`` sets in the environment of its functions, as far as it is known now."""
    resources = synthesize("local")["Resources"].values()
    functions = [one["Properties"] for one in resources if one["Type"] == "AWS::Lambda::Function"]
    pairs = [pair for one in functions for pair in one["Environment"]["Variables"].items()]
    return {name: value for name, value in pairs if isinstance(value, str)}
