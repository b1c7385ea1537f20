"""What each saved query shows of the lines that the functions and Lambda write."""

import msgspec
import pytest

from ops.trace import TraceLine
from tests.infra import insights
from tests.infra.conftest import STAGES, of_type, synthesized

STEPS = ("ListStaleVideos", "Reclaim", "Enqueue", "PublishBacklog")
HOUR_S = 3600


def row(step, at_s, **fields):
    """A line of a function's log, with the fields that Logs Insights finds in it."""
    return {"@log": step, "@timestamp": at_s, "@message": str(fields), "level": "INFO", **fields}


def report(step, at_s, ms, **fields):
    """The line that Lambda writes at the end of a call."""
    return row(step, at_s, level=None, **{"@type": "REPORT", "@duration": ms, **fields})


def decided(at_s, **fields):
    """The line of a decision."""
    return row("PublishBacklog", at_s, message="decided", **fields)


ROWS = [
    row("Enqueue", 30, message="enqueued", video=7, execution="e1", attempt=1),
    row("ListStaleVideos", 10, message="stale", video=7, reason="leaseExpired", execution="e1"),
    row("Reclaim", 20, message="reclaimed", video=7, reason="leaseExpired", execution="e1"),
    row("Reclaim", 21, message="reclaimed", video=8, reason="silentTwice", execution="e1"),
    row("Reclaim", 22, message="reclaimed", video=9, reason="leaseExpired", execution="e1"),
    row("Reclaim", HOUR_S + 5, message="reclaimed", video=9, reason="leaseExpired", execution="e2"),
    row("Reclaim", 23, message="refused", video=5, reason="leaseExpired", error="no", execution="e1"),
    decided(40, action="hold", held=1, desired=3, reason="a hole", execution="e1"),
    decided(50, action="scale-out", desired=4, reason="more", execution="e2"),
    decided(60, action="hold", held=1, desired=4, reason="an order", execution="e3"),
    row("PublishBacklog", 61, level="WARNING", message="override unknown", execution="e3"),
    row("Enqueue", 62, level="ERROR", message="crashed"),
    row("Enqueue", 63, level=None, **{"@message": "Task timed out after 60.00 seconds"}),
    row("Reclaim", 64, level=None, **{"@message": "Traceback (most recent call last):"}),
    row("Reclaim", 65, level=None, **{"@message": "Runtime.ExitError"}),
    report("Reclaim", 66, 90.0),
    report("Reclaim", 67, 110.0, **{"@initDuration": 400.0}),
    report("Enqueue", 68, 500.0),
    report("PublishBacklog", 69, 300.0),
]


class Saved:
    """The saved queries of a stage, by name."""

    def __init__(self, stage):
        resources = synthesized(stage).template["Resources"]
        groups = of_type(resources, "AWS::Logs::LogGroup")
        self.texts, self.steps = {}, {}
        for one in of_type(resources, "AWS::Logs::QueryDefinition").values():
            name = one["Name"].partition("/")[2]
            self.texts[name] = one["QueryString"]
            self.steps[name] = {
                groups[group["Ref"]]["LogGroupName"].rpartition("/")[2] for group in one["LogGroupNames"]
            }

    def run(self, name, rows=ROWS, **replaced):
        text = self.texts[name]
        for field, value in replaced.items():
            assert f"{field} = 0" in text
            text = text.replace(f"{field} = 0", f"{field} = {value}")
        return insights.run(text, [row for row in rows if row["@log"] in self.steps[name]])


@pytest.fixture(params=STAGES)
def saved(request):
    return Saved(request.param)


def test_the_history_of_a_video_is_told_from_its_beginning_by_all_that_is_known(saved):
    shown = saved.run("History of a video", video=7)
    assert [row["message"] for row in shown] == ["stale", "reclaimed", "enqueued"]
    evidence = {field.name for field in msgspec.structs.fields(TraceLine)} - {"timestamp", "video"}
    assert evidence | {"@timestamp"} == set(shown[0])


def test_reclaims_are_counted_by_reason_and_hour(saved):
    counted = {(row["reason"], row["bin(1h)"]): row["videos"] for row in saved.run("Reclaims by reason")}
    assert counted == {("leaseExpired", 0): 2, ("silentTwice", 0): 1, ("leaseExpired", 1): 1}


def test_decisions_that_were_held_are_shown_with_their_reason_newest_first(saved):
    shown = saved.run("Decisions held")
    assert [(row["@timestamp"], row["reason"]) for row in shown] == [(60, "an order"), (40, "a hole")]
    assert {"desired", "execution"} < set(shown[0])


def test_the_slowest_step_comes_first(saved):
    shown = saved.run("Slowest steps")
    assert [row["@log"] for row in shown] == ["Enqueue", "PublishBacklog", "Reclaim"]
    assert shown[-1] == {
        **{"@log": "Reclaim", "calls": 2, "mean_ms": 100.0, "p99_ms": 110.0},
        **{"longest_ms": 110.0, "longest_start_ms": 400.0},
    }


def test_errors_are_what_any_function_or_lambda_complains_of_newest_first(saved):
    shown = saved.run("Errors")
    assert [row["@timestamp"] for row in shown] == [65, 64, 63, 62, 61, 23]
    assert {"@log", "level", "message", "cause", "error", "video", "execution", "@message"} < set(shown[0])


@pytest.mark.parametrize("name", ["History of a video", "Errors"])
def test_what_may_be_anywhere_is_looked_for_in_all_logs(saved, name):
    assert saved.steps[name] == set(STEPS)


def test_every_query_reads_the_logs_that_hold_what_it_shows(saved):
    """Each GB that is searched costs: a query of one function's lines reads no other's."""
    assert saved.steps["Slowest steps"] == set(STEPS)
    assert (saved.steps["Reclaims by reason"], saved.steps["Decisions held"]) == (
        {"Reclaim"},
        {"PublishBacklog"},
    )


@pytest.mark.parametrize("name", ["History of a video", "Decisions held", "Errors"])
def test_a_list_ends_where_nobody_reads_on(saved, name):
    rows = [
        row(step, at_s, message="decided", action="hold", held=1, error="no", video=7)
        for at_s in range(2_000)
        for step in STEPS
    ]
    shown = saved.run(name, rows, **({"video": 7} if name.startswith("History") else {}))
    assert 100 <= len(shown) <= 1_000
