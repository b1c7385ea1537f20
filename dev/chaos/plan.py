"""What a soak is asked for, what it counts while it runs, and what it reports."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from dev.chaos.case import Violation
from dev.chaos.history import Record


@dataclass(frozen=True, slots=True)
class RealPlatform:
    """Which of the real platform's ways a soak has; all are off by default.

    Attributes:
        requeues: see `Habits.requeues_refused`.
        early_beats: see `Habits.beats_early`.
        retries: a user's retry sets ``cancel_requested`` for 300 s, makes the row UPLOADED without clearing
            the lease, and sends a message at once; workers have `Habits.honours_cancel`.
        job_locks: half of the workers have `Habits.job_lock`.
        instance_ids: workers have an EC2 instance's id as their name, and `Habits.request_ids`.
    """

    requeues: bool = False
    early_beats: bool = False
    retries: bool = False
    job_locks: bool = False
    instance_ids: bool = False

    @classmethod
    def of(cls, ways: Iterable[str]) -> "RealPlatform":
        """Return a platform with these ways, named as the attributes. Raises TypeError for another name."""
        return cls(**dict.fromkeys(ways, True))

    @classmethod
    def all(cls) -> "RealPlatform":
        """Return a platform with all its ways."""
        return cls.of(way.name for way in fields(cls))

    @property
    def ways(self) -> list[str]:
        """The names of the ways that are on."""
        return [way.name for way in fields(self) if getattr(self, way.name)]


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
        unsent_share: share of the platform's own messages that are never sent.
        real_platform: the real platform's ways that it has; none by default.
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
    unsent_share: float = 0.02
    real_platform: RealPlatform = RealPlatform()
    limit_s: float = 1200.0


@dataclass(slots=True)
class Outcome:
    """The result of a soak.

    Attributes:
        faults: number of faults, by kind.
        races: how often another party acted between two steps of the product, by kind.
        violations: the rules that were broken, in the order of time.
        lost: the videos that are UPLOADED without a message, by what became of their last message.
        duplicates: messages for a video that had one already, by cause.
        counts: executions, redrives, reclaims, messages, claims and so on.
        story: everything known about the video of the first violation.
        seconds: real time.
    """

    faults: Counter[str]
    races: Counter[str]
    violations: list[Violation]
    counts: Counter[str]
    lost: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
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
