"""What a soak is asked for, what it counts while it runs, and what it reports."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from dev.chaos.case import Violation
from dev.chaos.history import Record


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a soak.

    Attributes:
        faults: the soak ends after this many faults.
        videos: number of videos at any time.
        workers: number of workers at any time.
        seed: seeds every random choice; threads and processes are not reproducible.
        minute_s: length of a minute, seconds.
        fault_share: share of the product's calls that get a fault.
        lanes: number of executions at a time.
        max_reclaims: MAX_RECLAIMS; low, since Redis loses the counts every few seconds.
        limit_s: the soak ends after this long; not to reach the faults by then breaks the rule `runs`.
    """

    faults: int
    videos: int
    workers: int
    seed: int
    minute_s: float = 1.0
    fault_share: float = 0.1
    lanes: int = 4
    max_reclaims: int = 2
    limit_s: float = 1200.0


@dataclass(slots=True)
class Outcome:
    """The result of a soak.

    Attributes:
        faults: number of faults, by kind.
        races: how often another party acted between two steps of the product, by kind.
        violations: the rules that were broken, in the order of time.
        excused: videos that the platform itself lost, by cause.
        counts: executions, redrives, reclaims, messages, claims and so on.
        story: everything known about the video of the first violation.
        seconds: real time.
    """

    faults: Counter[str]
    races: Counter[str]
    violations: list[Violation]
    excused: Counter[str]
    counts: Counter[str]
    story: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Tally:
    """Counts faults and actions from any thread.

    Attributes:
        faults: number of faults so far, by kind.
        counts: number of actions so far, by kind.
        calm: set once no more faults are to be injected.
    """

    def __init__(self, record: Record) -> None:
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.calm = threading.Event()
        self._record = record
        self._lock = threading.Lock()

    def add(self, action: str) -> None:
        """Count an action."""
        with self._lock:
            self.counts[action] += 1

    def fault(self, fault: str) -> None:
        """Count a fault that is recorded elsewhere."""
        with self._lock:
            self.faults[fault] += 1

    def note(self, fault: str) -> None:
        """Count a fault and record it."""
        self.fault(fault)
        self._record.note("fault", fault=fault)
