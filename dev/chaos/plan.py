"""What a soak is asked for, what it counts while it runs, and what it reports."""

from collections import Counter
from dataclasses import dataclass, field

from dev.chaos.case import Violation
from dev.chaos.history import Record


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a soak. Times are those of the schedule."""

    faults: int  # the soak ends after this many faults
    videos: int  # number of videos at any time
    workers: int  # number of workers at any time
    seed: int  # seeds every random choice; the milliseconds that servers take are not reproducible
    fault_share: float = 0.1  # share of the product's calls that get a fault
    lanes: int = 3  # number of executions at a time
    max_reclaims: int = 2  # MAX_RECLAIMS; low, since Redis loses the counts every few minutes
    unsent_share: float = 0.02  # share of the platform's own messages that are never sent
    # the soak ends after this long; not to reach the faults by then breaks the rule `runs`
    limit_s: float = 7 * 86_400


@dataclass(slots=True)
class Outcome:
    """The result of a soak."""

    faults: Counter[str]  # number of faults, by kind
    counts: Counter[str]  # executions, redrives, reclaims, messages, claims and so on
    duplicates: Counter[str]  # messages for a video that had one already, by cause
    violations: list[Violation]  # the rules that were broken, in the order of time
    story: list[str] = field(default_factory=list)  # everything known about the video of the first violation
    seconds: float = 0.0  # real time
    hours: float = 0.0  # the schedule's time


class Tally:
    """Counts faults and actions.

    Attributes:
        faults: number of faults so far, by kind.
        counts: number of actions so far, by kind.
        calm: no more faults are to be injected.
    """

    def __init__(self, record: Record) -> None:
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.calm = False
        self._record = record

    def note(self, fault: str) -> None:
        """Count a fault and record it."""
        self.faults[fault] += 1
        self._record.note("fault", fault=fault)
