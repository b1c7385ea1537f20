"""What a month costs, from the definition: the figures that are held to goals; `bench.cost` has the rest."""

from collections.abc import Callable

from dev.bench import cost
from dev.bench.figures import RATIO, Figure, Goal, Growth, Section, Table, number

TITLE = "Cost"


def measure(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Count along the definition, with durations measured on the local stack."""
    durations_s = cost.measure(2 if quick else 7)
    say(", ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items()))
    deployment, machine = cost.deployed()
    months = {day: cost.monthly(deployment, machine, durations_s, day) for day in cost.DAYS_SHOWN}
    together, naive = cost.for_a_thousand(deployment, machine, durations_s)
    idle = months[cost.IDLE]
    figures = [
        Figure(
            "naive",
            "1,000 videos put back: one Lambda call a video and step costs so many times as much",
            RATIO,
            [naive / together],
            better="higher",
        ),
        Figure(
            "transitions",
            "states entered by an idle run",
            "",
            [cost.run_of(machine, 0).total()],
            Goal("at most", 5),
        ),
        Figure(
            "idle_month",
            "a month at one run a minute, idle",
            "$",
            [sum(paid for _, paid in idle.values())],
            Goal("at most", 15),
        ),
        Figure("thousand", "1,000 videos put back in one run", "$", [together]),
    ]
    rows = [
        (name, number(amount), *(f"{month[name][1]:.2f}" for month in months.values()))
        for name, (amount, _) in idle.items()
    ]
    totals = (f"{sum(paid for _, paid in month.values()):.2f}" for month in months.values())
    heads = (f"{day.name} days, $" for day in months)
    table = Table(
        f"A month by what is paid for; prices of {cost.PRICED}",
        ("", "amount, idle", *heads),
        [*rows, ("all", "", *totals)],
    )
    sizes = (0, 1, 10, 40, 100, 400, 1_000, 4_000, 10_000)
    growth = Growth(
        "transitions",
        "States entered by one run",
        "stale videos",
        "state transitions",
        {
            "this product": [(size, cost.run_of(machine, size).total()) for size in sizes if size],
            "one call a video and step": [
                (size, cost.run_of(machine, 0).total() + 3 * size) for size in sizes if size
            ],
        },
    )
    return Section("cost", TITLE, figures, _meaning(durations_s), [table], growth=[growth])


def _meaning(durations_s: dict[str, float]) -> str:
    told = "; ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items())
    return (
        "States are counted along the state machine's own definition, and the rest is read from the "
        "synthesized template of the stage `existing`; [cost](cost.md) says what is in it and what is not. "
        f"Durations are those of warm calls with a hundred videos on the local stack ({told}), stretched to "
        "the share of a core that the functions' memory buys. The naive workflow is a Map with one item a "
        "video, two functions and a Choice in each, and one message a call."
    )
