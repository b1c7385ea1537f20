"""Each alarm on good and bad hours: it is raised by its own condition, after its time, and by nothing else.

What is published comes from the functions' own code, so that an alarm on a series that nobody publishes is never
raised. Alarms are evaluated as "Using Amazon CloudWatch alarms" (CloudWatch User Guide) describes.
"""

import json
from itertools import chain

import pytest

from tests.infra.conftest import of_type, synthesized
from tests.infra.published import Series
from tests.infra.references import written

STATISTICS = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
    "SampleCount": len,
}
COMPARISONS = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
}


def after(alarm, resources, minutes):
    """The state of an alarm after minutes, each of which is the values by series."""
    dimensions = tuple((one["Name"], written(one["Value"], resources)) for one in alarm["Dimensions"])
    series = (alarm["Namespace"], alarm["MetricName"], dimensions)
    long, several = alarm["Period"] // 60, alarm["EvaluationPeriods"]
    assert long >= 1 and several >= 1
    values = [minute.get(series, []) for minute in minutes]
    starts = range(0, len(values) - long + 1, long)
    periods = [list(chain.from_iterable(values[start : start + long])) for start in starts]
    state = "OK"
    for end in range(several, len(periods) + 1):
        state = evaluate(alarm, periods[end - several : end], state)
    return state


def evaluate(alarm, periods, state):
    statistic, comparison = STATISTICS[alarm["Statistic"]], COMPARISONS[alarm["ComparisonOperator"]]
    breaching = [comparison(statistic(values), alarm["Threshold"]) for values in periods if values]
    missing = len(periods) - len(breaching)
    if missing and alarm["TreatMissingData"] == "ignore":
        return state
    if missing == len(periods) and alarm["TreatMissingData"] == "missing":
        return "INSUFFICIENT_DATA"
    breaching += [alarm["TreatMissingData"] == "breaching"] * missing
    return "ALARM" if all(breaching) else "OK"


def trouble(*, own=None, ended=("Succeeded",), queues=(), published=True):
    """A minute: what is different in what PublishBacklog puts, how executions ended, queues with a message."""
    return {"own": (own or {}) if published else None, "ended": ended, "queues": queues}


QUIET = trouble()
UNDELIVERED, DEAD = "video-reclaim-{}-undelivered", "academy-video-jobs-dlq"

# How many minutes of it raise which alarms, and what they are afterwards, in minutes without any value.
CONDITIONS = [
    (trouble(ended=["Failed"]), 5, {"NoSuccessfulRun", "ExecutionFailed"}),
    (trouble(ended=["Failed", "Succeeded"]), 1, {"ExecutionFailed"}),
    (trouble(ended=["TimedOut", "Succeeded"]), 1, {"ExecutionTimedOut"}),
    (trouble(ended=[]), 5, {"NoSuccessfulRun"}),
    (trouble(published=False), 5, {"BacklogUnmeasured"}),
    (trouble(own={"backlog": None}), 5, {"BacklogUnmeasured"}),
    (trouble(own={"waited_s": 1800.0}), 5, {"OldestWait"}),
    (trouble(own={"waited_s": 1799.0}), 5, set()),
    (trouble(own={"trusted": False}), 5, {"HeartbeatsUntrusted"}),
    (trouble(own={"quarantined": 1}), 1, {"VideosQuarantined"}),
    (trouble(own={"resent": 1}), 1, {"MessagesLost"}),
    (trouble(own={"refused": 1}), 1, {"RowsRefused"}),
    (trouble(own={"tenantless": 1}), 1, {"TenantUnknown"}),
    (trouble(own={"unclear": True}), 3, {"OverrideUnclear"}),
    (trouble(queues=[UNDELIVERED]), 1, {"StartsUndelivered"}),
    (trouble(queues=[DEAD]), 1, {"VideoDeadLetters"}),
    (trouble(own={"reclaimed": 9, "enqueued": 9, "duplicates": {"adopted": 1}, "backlog": 5_000}), 10, set()),
    (trouble(own={"backlog": 0, "waited_s": 0.0}), 10, set()),
]
STAY = {"OldestWait", "HeartbeatsUntrusted", "OverrideUnclear"}
"""Conditions that nothing is known of while nothing is published: they don't end by it."""
UNTOLD = {"NoSuccessfulRun", "BacklogUnmeasured"}
"""What silence itself means."""


class StageAlarms:
    """The alarms of a deployment, and its minutes."""

    def __init__(self, name, **sections):
        self.name = name
        self.resources = synthesized(name, json.dumps(sections)).template["Resources"]
        self.alarms = {
            one["AlarmName"].split("-")[-1]: one
            for one in of_type(self.resources, "AWS::CloudWatch::Alarm").values()
        }
        self.series = Series(self.resources)

    def minute(self, trouble):
        own = {} if trouble["own"] is None else self.series.own(**trouble["own"])
        ended = {"Started": len(trouble["ended"]), **dict.fromkeys(trouble["ended"], 1)}
        queues = {DEAD: 0, **{name.format(self.name): 1 for name in trouble["queues"]}}
        return {**own, **self.series.executions(**ended), **self.series.queues(**queues)}

    def raised(self, minutes):
        states = {name: after(alarm, self.resources, minutes) for name, alarm in self.alarms.items()}
        assert set(states.values()) <= {"OK", "ALARM"}
        return {name for name, state in states.items() if state == "ALARM"}


@pytest.fixture(params=["existing", "local"], ids=["named-queues", "created-queues"])
def deployed(request):
    return StageAlarms(request.param)


# 10 minutes: whole periods of whatever length, for the longest of which one bad minute is enough.
@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_a_condition_raises_its_own_alarm_in_time_and_no_other_until_it_is_over(
    deployed, trouble, minutes, raised
):
    good, bad = deployed.minute(QUIET), deployed.minute(trouble)
    calm = [good] * 10
    assert deployed.raised(calm) == set()
    if minutes > 1:  # a condition that lasts: not before it lasted
        assert deployed.raised(calm + [bad] * (minutes - 1)) <= {"ExecutionFailed"}
        assert deployed.raised(calm + [bad] * minutes) == raised
    else:  # an event: once is enough, wherever in five minutes it is
        assert deployed.raised([*calm, good, good, bad, good, good]) | deployed.raised([*calm, bad]) == raised
    assert deployed.raised(calm + [bad] * 5 + [good] * 5) == set()
    assert deployed.raised(calm + [bad] * 5 + [{}] * 10) == UNTOLD | (raised & STAY), "without any value"


@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_rounds_are_counted_and_not_minutes(trouble, minutes, raised):
    """With a slower schedule most minutes have no value."""
    rate = 5
    slow = {"schedule": {"rateMinutes": rate}, "scaling": {"peakWindowSeconds": 600}}
    deployed = StageAlarms("existing", **slow)
    between = deployed.series.queues()
    good, bad = ([deployed.minute(one)] + [between] * (rate - 1) for one in (QUIET, trouble))
    lasting = {name for name in raised if name in STAY | UNTOLD}
    assert deployed.raised(good * 10) == set()
    if lasting:
        assert deployed.raised(good * 10 + bad * (minutes - 1)) & lasting == set()
        assert deployed.raised(good * 10 + bad * minutes) >= lasting


def test_the_limit_of_waiting_is_the_stage_s():
    for limit_s in (600, 7200):
        deployed = StageAlarms("existing", observability={"oldestWaitSeconds": limit_s})
        for waited_s, raised in ((limit_s - 1, set()), (limit_s, {"OldestWait"})):
            minute = deployed.minute(trouble(own={"waited_s": float(waited_s)}))
            assert deployed.raised([minute] * 10) == raised


class TestSecondLook:
    """A run that looks twice publishes two values in one minute."""

    @staticmethod
    def minute(deployed, one, other):
        looks = [deployed.minute(trouble(own=own)) for own in (one, other)]
        return {series: looks[0][series] + looks[1][series] for series in looks[0]}

    @pytest.mark.parametrize(
        ("one", "other", "raised"),
        [
            pytest.param({}, {}, set(), id="two-good-looks"),
            pytest.param({"trusted": False}, {}, {"HeartbeatsUntrusted"}, id="one-can-not-trust-redis"),
            pytest.param({"unclear": True}, {}, {"OverrideUnclear"}, id="one-can-not-read-the-order"),
            pytest.param({"waited_s": 1800.0}, {}, {"OldestWait"}, id="the-longer-wait-counts"),
            pytest.param({"waited_s": 1000.0}, {"waited_s": 1000.0}, set(), id="waits-do-not-add-up"),
        ],
    )
    def test_the_worse_look_counts(self, deployed, one, other, raised):
        assert deployed.raised([self.minute(deployed, one, other)] * 10) == raised


def test_the_conditions_cover_every_alarm(deployed):
    raised = set().union(*(condition[2] for condition in CONDITIONS))
    assert raised | {condition[2] for condition in LASTING} == set(deployed.alarms)


LASTING = [
    ({"idle": 9}, 15, "WorkersIdle"),
    ({"held": True}, 180, "DecisionHeld"),
    ({"beyond": 9}, 180, "AtMaximum"),
]


@pytest.mark.parametrize(("own", "minutes", "raised"), LASTING)
def test_what_is_ordinary_for_a_while_is_raised_when_it_lasts(deployed, own, minutes, raised):
    good, bad = deployed.minute(QUIET), deployed.minute(trouble(own=own))
    assert deployed.raised([bad] * minutes) == {raised}
    assert deployed.raised([bad] * (minutes - 1) + [good]) == set()
    assert deployed.raised([bad] * minutes + [good] * minutes) == set()
