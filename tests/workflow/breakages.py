"""Ways to break the definition, each of which some check of this folder must see."""

import json
from pathlib import Path

DEFINITION = Path(__file__).parents[2] / "state_machines" / "reclaim_videos.asl.json"


def _inside(definition, map_state):
    return definition["States"][map_state]["ItemProcessor"]["States"]


def _second_map_gets_a_catch(definition):
    for state in ("ReclaimAgain", "EnqueueAgain"):
        _inside(definition, "RetryFailedVideos")[state]["Catch"] = [
            {
                "ErrorEquals": ["States.ALL"],
                "Output": {"report": {"reclaimed": 0}},
                "Next": "NothingToEnqueueAgain",
            }
        ]


def _second_map_is_caught_as_a_whole(definition):
    definition["States"]["RetryFailedVideos"]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Report"}]


def _first_map_loses_its_own(definition):
    for state in ("Reclaim", "Enqueue"):
        del _inside(definition, "ReclaimVideos")[state]["Catch"]


def _outputs_carry_whole_videos(definition):
    _inside(definition, "ReclaimVideos")["Enqueue"]["Output"] = (
        "{% $merge([$states.result.Payload, $states.input]) %}"
    )


def _enqueue_forgets_its_token(definition):
    for map_state, state in (("ReclaimVideos", "Enqueue"), ("RetryFailedVideos", "EnqueueAgain")):
        _inside(definition, map_state)[state]["Arguments"]["Payload"]["token"] = ""


def _publishing_failures_are_swallowed(definition):
    definition["States"]["PublishBacklogAgain"]["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Report"}]


def _listing_failures_are_swallowed(definition):
    definition["States"]["ListStaleVideosAgain"]["Catch"] = [
        {"ErrorEquals": ["States.ALL"], "Next": "Report"}
    ]


def _group_errors_fail_the_execution(definition):
    del definition["States"]["SetDesiredCapacity"]["Catch"]


def _publishing_is_not_caught(definition):
    del definition["States"]["PublishBacklog"]["Catch"]


BREAKAGES = {
    "second-map-gets-a-catch": _second_map_gets_a_catch,
    "second-map-is-caught-as-a-whole": _second_map_is_caught_as_a_whole,
    "first-map-loses-its-own": _first_map_loses_its_own,
    "outputs-carry-whole-videos": _outputs_carry_whole_videos,
    "enqueue-forgets-its-token": _enqueue_forgets_its_token,
    "publishing-failures-are-swallowed": _publishing_failures_are_swallowed,
    "listing-failures-are-swallowed": _listing_failures_are_swallowed,
    "group-errors-fail-the-execution": _group_errors_fail_the_execution,
    "publishing-is-not-caught": _publishing_is_not_caught,
}


def broken(breakage):
    """The definition after one breakage."""
    definition = json.loads(DEFINITION.read_text())
    breakage(definition)
    return definition
