"""``python -m dev.chaos``: run a soak and print its outcome."""

import argparse
import secrets
import sys
import time
from collections import Counter
from pathlib import Path


def main() -> int:
    """Run a soak, print faults by kind and violations; return 1 if there was a violation."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.chaos", description="Run the protocol with injected faults."
    )
    parser.add_argument("--faults", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--seed", type=int, default=None, help="seed of random choices (a new one)")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "functions"))  # as Lambda has it

    from dev.chaos.environment import SoakPlan
    from dev.chaos.soak import soak

    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"Seed {seed}")
    began_s = time.monotonic()
    outcome = soak(SoakPlan(given.faults, seed), say=lambda line: print(line, flush=True))

    _table("Faults injected", outcome.faults)
    _table("Actions", outcome.counts)
    _table("Messages sent while another one for the video was out", outcome.duplicates)
    if outcome.violations:
        _table("Violations", Counter(violation.rule for violation in outcome.violations))
    for violation in outcome.violations[:20]:
        print(violation)
    for line in outcome.story:
        print(f"    {line}")
    print(f"\nfaults: {outcome.faults.total()}  kinds: {len(outcome.faults)}", end="  ")
    print(f"{outcome.hours:.1f} hours in {time.monotonic() - began_s:.0f} s")
    print(f"violations: {len(outcome.violations)}  seed: {seed}")
    return 1 if outcome.violations else 0


def _table(title: str, counts: Counter[str]) -> None:
    print(f"\n{title}: {counts.total()}")
    for name, number in sorted(counts.items()):
        print(f"{number:8d}  {name}")


if __name__ == "__main__":
    sys.exit(main())
