"""What a soak is asked for, and what it counts while it runs."""

from collections import Counter
from dataclasses import dataclass

from dev.chaos.history import Record


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a soak."""

    faults: int  # the soak ends after this many faults
    videos: int  # number of videos at any time
    workers: int  # number of workers at any time
    seed: int  # seeds every random choice


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
