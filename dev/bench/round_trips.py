"""Round trips to the servers: of a video that is put back, and of a run that finds nothing."""

from collections import Counter

from dev.bench.deployed import OTHER_AWS, POSTGRES, REDIS, SQS, RelayedStack, deployed
from dev.bench.report import Figure, Section, number, say, table

STORES = (POSTGRES, REDIS, SQS)
IDLE_CALLS = 12
"""Round trips of an idle run in version 0.1.0: 2 to PostgreSQL, 1 to Redis, 4 to SQS, 5 to other services."""

PAUSE_S = 0.005
"""The relays keep each answer so long, so that a question in several parts is counted once."""

_PLATFORM = ("the platform's own way, per video", "5", "1", "2", "0", "8")


def measure(*, quick: bool) -> Section:
    """Count what one execution asks over stale videos, and one over videos whose workers live."""
    videos = 6_000 if quick else 10_000  # fewer make smaller batches
    with deployed(dict.fromkeys((*STORES, OTHER_AWS), PAUSE_S)) as here:
        for _ in range(2):  # the first run opens the connections that warm functions keep
            here.prepare(videos)
            busy = _count(here, videos)
        here.prepare(0, beating=5)
        for _ in range(2):  # the first run records in Redis that heartbeats were seen
            idle = _count(here, 0)
    say(f"{busy.total()} round trips for {videos} videos, {idle.total()} of an idle run")
    per_video = sum(busy[store] - idle[store] for store in STORES) / videos
    label = f"round trips per video, {videos:,} videos, those of an idle run taken off"
    figures = {
        "per_video": Figure(label, "", [per_video], 0.15),
        "idle": Figure("round trips of an idle run, AWS calls included", "", [idle.total()], IDLE_CALLS + 1),
    }
    names = (*STORES, OTHER_AWS)
    rows = [
        (name, *(number(spent[server]) for server in names), number(spent.total()))
        for name, spent in ((f"a run over {videos:,} stale videos", busy), ("an idle run", idle))
    ]
    by_server = table(("", *names, "all"), [*rows, _PLATFORM])
    return Section("round-trips", figures, f"Round trips by server:\n\n{by_server}")


def _count(here: RelayedStack, videos: int) -> Counter[str]:
    before = Counter({name: relay.round_trips for name, relay in here.relays.items()})
    here.reclaim(videos)
    return Counter({name: relay.round_trips for name, relay in here.relays.items()}) - before
