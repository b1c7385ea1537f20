"""What became of one mutant."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One deliberate mistake, and whether a test failed because of it.

    Attributes:
        area: the part of the product; a row of the score table.
        mutant: where the mistake was made and what it was, in one line.
        noticed: a test failed, or hung beyond its limit.
        equivalent: why nobody could notice; empty otherwise.
    """

    area: str
    mutant: str
    noticed: bool
    equivalent: str = ""
