"""Ways to break the definition; some check of this folder must notice each of them."""

import json
from pathlib import Path

DEFINITION = Path(__file__).parents[2] / "state_machines" / "reclaim_videos.asl.json"


def _inside(definition, map_state):
    return definition["States"][map_state]["ItemProcessor"]["States"]


def _second_map_gets_a_catch(definition):
    states = _inside(definition, "RetryFailedVideos")
    states["Ignore"] = {"Type": "Pass", "End": True, "Output": {}}
    for state in ("ReclaimAgain", "EnqueueAgain"):
        states[state]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Ignore"}]


def _second_map_is_caught_as_a_whole(definition):
    definition["States"]["RetryFailedVideos"]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Report"}]


def _first_map_loses_its_own(definition):
    for state in ("Reclaim", "Enqueue"):
        del _inside(definition, "ReclaimVideos")[state]["Catch"]


def _outputs_carry_whole_videos(definition):
    _inside(definition, "ReclaimVideos")["Enqueue"]["Output"] = (
        "{% $merge([$states.result.Payload, $states.input]) %}"
    )


def _enqueue_gets_another_execution(definition):
    for map_state, state in (("ReclaimVideos", "Enqueue"), ("RetryFailedVideos", "EnqueueAgain")):
        _inside(definition, map_state)[state]["Arguments"]["Payload"] = (
            "{% $merge([$states.input, {'execution': 'arn:aws:states:::execution:m:another'}]) %}"
        )


def _listing_failures_are_swallowed(definition):
    definition["States"]["NotListed"] = {"Type": "Pass", "End": True}


def _group_errors_fail_the_execution(definition):
    del definition["States"]["SetDesiredCapacity"]["Catch"]


def _second_look_never_ends(definition):
    definition["States"]["ListStaleVideos"]["Arguments"]["Payload"]["run"] = {}


BREAKAGES = {
    "second-map-gets-a-catch": _second_map_gets_a_catch,
    "second-map-is-caught-as-a-whole": _second_map_is_caught_as_a_whole,
    "first-map-loses-its-own": _first_map_loses_its_own,
    "outputs-carry-whole-videos": _outputs_carry_whole_videos,
    "enqueue-gets-another-execution": _enqueue_gets_another_execution,
    "listing-failures-are-swallowed": _listing_failures_are_swallowed,
    "group-errors-fail-the-execution": _group_errors_fail_the_execution,
    "second-look-never-ends": _second_look_never_ends,
}


def broken(breakage):
    """Return the definition after one breakage."""
    definition = json.loads(DEFINITION.read_text())
    breakage(definition)
    return definition
