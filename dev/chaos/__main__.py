"""``python -m dev.chaos``: run a soak and print its outcome."""

import argparse
import secrets
import sys
from collections import Counter
from pathlib import Path

_WAYS = ("requeues", "early-beats", "retries", "job-locks", "instance-ids")
_FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"


def main() -> int:
    """Run a soak, print faults by kind and violations; return 1 if there was a violation."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.chaos", description="Run the protocol with injected faults."
    )
    parser.add_argument("--faults", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--videos", type=int, default=500, help="number of videos (500)")
    parser.add_argument("--workers", type=int, default=20, help="number of workers (20)")
    parser.add_argument("--minute-s", type=float, default=1.0, help="length of a minute in seconds (1)")
    parser.add_argument("--seed", type=int, default=None, help="seed of random choices (a new one)")
    parser.add_argument(
        "--real-platform",
        nargs="?",
        const="all",
        default="all",
        metavar="WAYS",
        help="which of the real platform's ways there are: all (the default), none, or some of these, separated"
        " by commas: " + ", ".join(_WAYS),
    )
    given = parser.parse_args()
    named = {"all": _WAYS, "none": ()}
    ways = named.get(given.real_platform, tuple(given.real_platform.split(",")))
    if unknown := set(ways) - set(_WAYS):
        parser.error(f"--real-platform: no such way: {', '.join(sorted(unknown))}")
    sys.path.insert(0, str(_FUNCTIONS))  # as Lambda has it

    from dev.chaos.plan import Plan, RealPlatform
    from dev.chaos.soak import soak

    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    print(f"Seed {seed}: {given.workers} workers, {given.videos} videos, a minute lasts {given.minute_s:g} s")
    plan = Plan(
        given.faults,
        given.videos,
        given.workers,
        seed,
        given.minute_s,
        real_platform=RealPlatform.of(way.replace("-", "_") for way in ways),
    )
    outcome = soak(plan, say=lambda line: print(line, flush=True))

    _table("Faults injected", outcome.faults)
    _table("Races: another party acted between two steps", outcome.races)
    _table("Actions", outcome.counts)
    _table("Messages sent while another one for the video was out", outcome.duplicates)
    _table("Videos that are UPLOADED without a message", outcome.lost)
    if outcome.violations:
        _table("Violations", Counter(violation.rule for violation in outcome.violations))
    for violation in outcome.violations[:20]:
        print(violation)
    for line in outcome.story:
        print(f"    {line}")
    print(f"\nfaults: {outcome.faults.total()}  kinds: {len(outcome.faults)}  {outcome.seconds:.0f} s")
    print(f"violations: {len(outcome.violations)}  seed: {seed}")
    return 1 if outcome.violations else 0


def _table(title: str, counts: Counter[str]) -> None:
    print(f"\n{title}: {counts.total()}")
    for name, number in sorted(counts.items()):
        print(f"{number:8d}  {name}")


if __name__ == "__main__":
    sys.exit(main())
