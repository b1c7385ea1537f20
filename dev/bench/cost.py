"""The durations of the functions' warm calls, and with them the cost of a month by the model of `dev.cost`."""

import json
from collections.abc import Mapping
from statistics import median
from time import perf_counter
from typing import Any

from dev import cost as model
from dev.bench.deployed import Deployed, deployed
from dev.bench.report import Figure, Say, Section

TITLE = "Cost"


def measure(*, quick: bool, say: Say) -> Section:
    """Time each function's warm call on the local stack, and count the rest."""
    durations_s = _time_functions(2 if quick else 7)
    say(", ".join(f"{step} {1_000 * seconds:.0f} ms" for step, seconds in durations_s.items()))
    idle = model.monthly(model.read_deployment(), durations_s, model.IDLE)
    figures = [
        Figure("transitions", "states entered by an idle run", "", [model.entered(0).total()], 5),
        Figure(
            "idle_month",
            "an idle month, one run a minute, us-east-1",
            "$",
            [sum(usd for _, usd in idle.values())],
            15,
        ),
    ]
    return Section("cost", TITLE, figures, facts=durations_s)


def _time_functions(repeats: int) -> dict[str, float]:
    """Return the median seconds of each function's warm call: as many stale videos as a batch holds."""
    with deployed() as here:
        times: dict[str, list[float]] = {step: [] for step in here.running.stack.functions}
        for turn in range(repeats + 1):  # the first is cold
            _call_all(here, f"arn:aws:states:us-east-1:000000000000:execution:bench:cost-{turn}", times)
    return {step: median(of_step[1:]) for step, of_step in times.items()}


def _call_all(here: Deployed, execution: str, times: Mapping[str, list[float]]) -> None:
    stack = here.running.stack

    def call(step: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        began_s = perf_counter()
        event = json.dumps({"input": {}, "execution": execution, **payload})
        answer = stack.clients.functions.invoke(FunctionName=stack.functions[step], Payload=event)
        given: dict[str, Any] = json.loads(answer["Payload"].read())
        times[step].append(perf_counter() - began_s)
        if "errorType" in given:
            raise RuntimeError(f"{step} failed: {given}")
        return given

    here.prepare(model.LARGEST_ITEM)
    listed = call("ListStaleVideos", {"run": {}})
    videos = [video for batch in listed["batches"] for video in batch]
    batch = {
        "videos": videos,
        "startedAt": "2026-03-02T12:00:00.000Z",
        "failOnPartial": True,
        "unsent": False,
    }
    call("Enqueue", call("Reclaim", batch))
    call("PublishBacklog", {"run": listed["run"], "pass": {"results": [], "retried": False}})
