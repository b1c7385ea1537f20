"""Each alarm on good and bad hours: it is raised by its own condition, after its time, and by nothing else.

What is published comes from the functions' own code, so that an alarm on a series that nobody publishes is never
raised. Alarms are evaluated as "Using Amazon CloudWatch alarms" (CloudWatch User Guide) describes.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import STAGES, of_type, synthesized
from tests.infra.published import Platform
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


@dataclass
class Trouble:
    """What is different in a bad minute.

    Attributes:
        own: of what PublishBacklog puts; None if it puts nothing.
        ended: how the executions of the minute ended.
        queues: messages by the names of queues.
    """

    own: dict | None = field(default_factory=dict)
    ended: dict = field(default_factory=lambda: {"Started": 1, "Succeeded": 1})
    queues: dict = field(default_factory=dict)


QUIET = Trouble()
FAILED, TIMED_OUT = {"Started": 1, "Failed": 1}, {"Started": 1, "TimedOut": 1}
UNDELIVERED, DEAD = "video-reclaim-{}-undelivered", "academy-video-jobs-dlq"

# How many minutes of it raise which alarms, and what they are afterwards, in minutes without any value.
CONDITIONS = [
    pytest.param(Trouble(ended=FAILED), 5, {"NoSuccessfulRun", "ExecutionFailed"}, id="all-executions-fail"),
    pytest.param(
        Trouble(ended={"Started": 2, **FAILED, "Succeeded": 1}), 1, {"ExecutionFailed"}, id="one-fails"
    ),
    pytest.param(
        Trouble(ended={"Started": 2, **TIMED_OUT, "Succeeded": 1}),
        1,
        {"ExecutionTimedOut"},
        id="one-times-out",
    ),
    pytest.param(Trouble(ended={}), 5, {"NoSuccessfulRun"}, id="no-execution-succeeds"),
    pytest.param(Trouble(own=None), 5, {"BacklogUnmeasured"}, id="nothing-is-published"),
    pytest.param(Trouble(own={"backlog": None}), 5, {"BacklogUnmeasured"}, id="backlog-unknown"),
    pytest.param(Trouble(own={"waited_s": 1800.0}), 5, {"OldestWait"}, id="waits-for-exactly-the-limit"),
    pytest.param(Trouble(own={"waited_s": 1799.0}), 5, set(), id="waits-a-second-less"),
    pytest.param(Trouble(own={"trusted": False}), 5, {"HeartbeatsUntrusted"}, id="heartbeats-untrusted"),
    pytest.param(Trouble(own={"quarantined": 1}), 1, {"VideosQuarantined"}, id="a-video-is-quarantined"),
    pytest.param(Trouble(own={"resent": 1}), 1, {"MessagesLost"}, id="a-message-is-lost"),
    pytest.param(Trouble(own={"refused": 1}), 1, {"RowsRefused"}, id="a-row-is-refused"),
    pytest.param(Trouble(own={"tenantless": 1}), 1, {"TenantUnknown"}, id="a-video-has-no-tenant"),
    pytest.param(Trouble(own={"unclear": True}), 3, {"OverrideUnclear"}, id="the-order-is-unclear"),
    pytest.param(Trouble(queues={UNDELIVERED: 1}), 1, {"StartsUndelivered"}, id="a-start-is-undelivered"),
    pytest.param(Trouble(queues={DEAD: 1}), 1, {"VideoDeadLetters"}, id="a-dead-letter"),
    pytest.param(
        Trouble(
            own={
                "reclaimed": 9,
                "enqueued": 9,
                "duplicates": {"adopted": 1},
                "backlog": 5_000,
                "waited_s": 900.0,
            }
        ),
        *(10, set()),
        id="busy",
    ),
    pytest.param(Trouble(own={"backlog": 0, "waited_s": 0.0}), 10, set(), id="idle"),
]
STAY = {"OldestWait", "HeartbeatsUntrusted", "OverrideUnclear"}
"""Conditions that nothing is known of while nothing is published: they don't end by it."""
UNTOLD = {"NoSuccessfulRun", "BacklogUnmeasured"}
"""What silence itself means."""


class Deployed:
    """The alarms of a deployment, and its minutes."""

    def __init__(self, name, **sections):
        self.name = name
        self.resources = synthesized(name, json.dumps(sections)).template["Resources"]
        self.alarms = {
            one["AlarmName"].split("-")[-1]: one
            for one in of_type(self.resources, "AWS::CloudWatch::Alarm").values()
        }
        self.platform = Platform(self.resources)

    def minute(self, trouble):
        own = {} if trouble.own is None else self.platform.own(**trouble.own)
        queues = {name.format(self.name): n for name, n in {DEAD: 0, **trouble.queues}.items()}
        return {**own, **self.platform.executions(**trouble.ended), **self.platform.queues(**queues)}

    def states(self, minutes):
        return {name: after(alarm, self.resources, minutes) for name, alarm in self.alarms.items()}

    def raised(self, minutes):
        states = self.states(minutes)
        assert set(states.values()) <= {"OK", "ALARM"}
        return {name for name, state in states.items() if state == "ALARM"}


@pytest.fixture(params=["existing", "local"], ids=["named-queues", "created-queues"])
def deployed(request):
    return Deployed(request.param)


# 10 minutes: whole periods of whatever length, for the longest of which one bad minute is enough.
@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_a_condition_raises_its_own_alarm_in_time_and_no_other(deployed, trouble, minutes, raised):
    good, bad = deployed.minute(QUIET), deployed.minute(trouble)
    assert deployed.raised([good] * 10) == set()
    if minutes > 1:  # a condition that lasts: not before it lasted
        assert deployed.raised([good] * 10 + [bad] * (minutes - 1)) <= {"ExecutionFailed"}
        assert deployed.raised([good] * 10 + [bad] * minutes) == raised
    else:  # an event: once is enough, wherever in five minutes it is
        assert (
            deployed.raised([good] * 10 + [good, good, bad, good, good])
            | deployed.raised([good] * 10 + [bad])
            == raised
        )


@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_an_alarm_is_over_once_its_condition_is(deployed, trouble, minutes, raised):
    good, bad = deployed.minute(QUIET), deployed.minute(trouble)
    assert deployed.raised([good] * 10 + [bad] * 5 + [good] * 5) == set()


@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_without_any_value_only_what_lasts_is_still_raised(deployed, trouble, minutes, raised):
    good, bad = deployed.minute(QUIET), deployed.minute(trouble)
    assert deployed.raised([good] * 10 + [bad] * 5 + [{}] * 10) == UNTOLD | (raised & STAY)


@pytest.mark.parametrize(("trouble", "minutes", "raised"), CONDITIONS)
def test_rounds_are_counted_and_not_minutes(trouble, minutes, raised):
    """With a slower schedule most minutes have no value."""
    rate = 5
    slow = {"schedule": {"rateMinutes": rate}, "scaling": {"peakWindowSeconds": 600}}
    deployed = Deployed("existing", **slow)
    between = deployed.platform.queues()
    good, bad = ([deployed.minute(one)] + [between] * (rate - 1) for one in (QUIET, trouble))
    lasting = {name for name in raised if name in STAY | UNTOLD}
    assert deployed.raised(good * 10) == set()
    if lasting:
        assert deployed.raised(good * 10 + bad * (minutes - 1)) & lasting == set()
        assert deployed.raised(good * 10 + bad * minutes) >= lasting


def test_the_limit_of_waiting_is_the_stage_s():
    for limit_s in (600, 7200):
        deployed = Deployed("existing", observability={"oldestWaitSeconds": limit_s})
        for waited_s, raised in ((limit_s - 1, set()), (limit_s, {"OldestWait"})):
            minute = deployed.minute(Trouble(own={"waited_s": float(waited_s)}))
            assert deployed.raised([minute] * 10) == raised


class TestSecondLook:
    """A run that looks twice publishes two values in one minute."""

    @staticmethod
    def minute(deployed, one, other):
        looks = [deployed.minute(Trouble(own=own)) for own in (one, other)]
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
    raised = Counter(name for condition in CONDITIONS for name in condition.values[2])
    lasting = {condition.values[2] for condition in LASTING}
    assert set(raised) | lasting == set(deployed.alarms)


LASTING = [
    pytest.param({"idle": 1}, 10, "WorkersIdle", id="nobody-takes-what-waits"),
    pytest.param({"held": True}, 180, "DecisionHeld", id="a-decision-is-held"),
    pytest.param({"beyond": 1}, 180, "AtMaximum", id="the-maximum-is-too-small"),
]


@pytest.mark.parametrize(("own", "minutes", "raised"), LASTING)
def test_what_is_ordinary_for_a_while_is_raised_when_it_lasts(deployed, own, minutes, raised):
    good, bad = deployed.minute(QUIET), deployed.minute(Trouble(own=own))
    assert deployed.raised([bad] * minutes) == {raised}
    assert deployed.raised([bad] * (minutes - 1) + [good]) == set()
    assert deployed.raised([bad] * minutes + [good] * minutes) == set()


def test_the_limit_of_these_conditions_is_that_of_the_stages():
    assert {load(stages_in(), name).observability.oldest_wait_seconds for name in STAGES} == {1800}
