"""The durations of the functions' warm calls, and with them the cost of a month by the model of `dev.cost`."""

import json
from statistics import median
from time import perf_counter
from typing import Any

from dev import cost as model
from dev.bench.deployed import RelayedStack, deployed
from dev.bench.report import Figure, Section, say
from video_reclaim.rules.batching import MAX_BATCH_SIZE

_EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:bench:cost"


def measure(*, quick: bool) -> Section:
    """Time each function's warm call on the local stack, and count the rest."""
    durations_s = _time_functions(2 if quick else 7)
    say(", ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items()))
    idle = model.monthly(model.read_footprint(), durations_s, model.IDLE)
    month_usd = sum(usd for _, usd in idle.values())
    figures = {
        "transitions": Figure("states entered by an idle run", "", [model.entered(0).total()], 5),
        "idle_month": Figure("an idle month, one run a minute, us-east-1", "$", [month_usd], 15),
    }
    return Section("cost", figures, facts=durations_s)


def _time_functions(repeats: int) -> dict[str, float]:
    """Return the median seconds of each function's warm call: as many stale videos as a batch holds."""
    with deployed() as here:
        _, *turns = [
            _call_all(here, f"{_EXECUTION}-{turn}") for turn in range(repeats + 1)
        ]  # the first is cold
    return {step: median(turn[step] for turn in turns) for step in turns[0]}


def _call_all(here: RelayedStack, execution: str) -> dict[str, float]:
    """Call all functions as the workflow does; return the seconds of each call."""
    stack, taken_s = here.stack, {}

    def call(step: str, payload: dict[str, Any]) -> dict[str, Any]:
        event = json.dumps({"input": {}, "execution": execution, **payload})
        began_s = perf_counter()
        answer = stack.clients.functions.invoke(FunctionName=stack.functions[step], Payload=event)
        given: dict[str, Any] = json.loads(answer["Payload"].read())
        taken_s[step] = perf_counter() - began_s
        if "errorType" in given:
            raise RuntimeError(f"{step} failed: {given}")
        return given

    here.prepare(MAX_BATCH_SIZE)
    listed = call("ListStaleVideos", {"run": {}})
    videos = [video for batch in listed["batches"] for video in batch]
    started = "2026-03-02T12:00:00.000Z"
    batch = {"videos": videos, "startedAt": started, "failOnPartial": True, "unsent": False}
    call("Enqueue", call("Reclaim", batch))
    call("PublishBacklog", {"run": listed["run"], "pass": {"results": [], "retried": False}})
    return taken_s
