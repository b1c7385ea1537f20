"""The scaling decision, rule by rule."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from video_reclaim.records import Malformed, from_builtins, to_builtins
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.override import parse_override
from video_reclaim.scaling.records import Decision, Group, Inputs, Override, Point, Policy

AT = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
MINUTE = AT.replace(second=0)


def points(value=0.0, minutes=range(1, 21), **others):
    """One point a minute; `minutes` counts back from the minute of the decision, `others` as in ``m3=9``."""
    values = dict.fromkeys(minutes, value) | {int(name[1:]): at for name, at in others.items()}
    return tuple(Point(MINUTE - timedelta(minutes=ago), float(at)) for ago, at in values.items())


def without(*minutes):
    return points(minutes=[ago for ago in range(1, 21) if ago not in minutes])


def group(desired=1, **changes):
    return replace(Group(min=1, max=20, desired=desired, in_service=desired, safety="protected"), **changes)


def override(mode, desired=None, until=AT + timedelta(hours=1)):
    return Override(mode, until, desired, "fire drill")


def policy(**changes):
    given = Policy(
        videos_per_worker=1, spare_workers=1, peak_window_s=120, scale_in_window_s=1200, measured_every_s=60
    )
    return replace(given, **changes)


def inputs(uploaded=0, processing=0, *, visible=None, **changes):
    given = Inputs(
        at=AT,
        uploaded=uploaded,
        processing=processing,
        visible=uploaded if visible is None else visible,
        in_flight=0,
        window=points(),
        group=group(),
        policy=policy(),
    )
    return replace(given, **changes)


def blind(visible, **changes):
    return replace(inputs(**changes), uploaded=None, processing=None, visible=visible)


# Unknown


@pytest.mark.parametrize("visible", [None, 0])
def test_without_the_database_and_a_waiting_message_it_holds(visible):
    decision = decide(blind(visible, group=group(9)))
    assert (decision.action, decision.desired, decision.held) == ("hold", 9, True)


def test_an_unknown_group_is_left_alone_and_the_record_says_why():
    decision = decide(inputs(uploaded=30, group=None, group_problem="its instance types have weights"))
    assert (decision.action, decision.desired, decision.held) == ("hold", None, True)
    assert "weights" in decision.reason


# Want, and out


@pytest.mark.parametrize(
    ("given", "desired"),
    [
        pytest.param(inputs(uploaded=12, window=()), 12, id="all-at-once-without-any-point"),
        pytest.param(inputs(uploaded=9, processing=3, group=group(3)), 12, id="waiting-and-at-work"),
        pytest.param(inputs(9, 3, policy=policy(videos_per_worker=5)), 3, id="rounded-up-to-whole-workers"),
        pytest.param(inputs(uploaded=900), 20, id="never-over-the-live-maximum"),
        pytest.param(
            inputs(uploaded=10**400, policy=policy(videos_per_worker=3)), 20, id="larger-than-a-float"
        ),
        pytest.param(inputs(uploaded=5, visible=0), 5, id="messages-that-are-not-visible-yet"),
        pytest.param(replace(inputs(uploaded=5), visible=None), 5, id="queue-unknown"),
        pytest.param(blind(3, group=group(4)), 7, id="database-unknown-a-worker-for-each-message"),
        pytest.param(
            blind(3, group=group(6, in_service=2)), 6, id="database-unknown-booting-workers-will-take-them"
        ),
        pytest.param(blind(5, policy=policy(videos_per_worker=2), group=group(2)), 5, id="whole-workers-too"),
    ],
)
def test_out_at_once_to_what_the_backlog_asks_for(given, desired):
    decision = decide(given)
    assert (decision.action, decision.desired, decision.held) == ("scale-out", desired, False) or (
        decision.desired == desired == given.group.desired
    )


def test_deletion_messages_start_no_worker():
    assert decide(inputs(visible=15)).desired == 1


def test_a_row_in_processing_starts_no_worker():
    assert decide(inputs(processing=6, group=group(2))).desired == 2
    assert decide(inputs(uploaded=1, processing=6, group=group(2))).desired == 3


def test_a_dead_row_holds_back_one_instance_and_not_all():
    decision = decide(inputs(processing=1, window=points(1.0), group=group(9)))
    assert (decision.action, decision.desired) == ("scale-in", 1)
    decision = decide(inputs(processing=3, window=points(3.0), group=group(9)))
    assert (decision.action, decision.desired) == ("scale-in", 3)


def test_draining_instances_work_on_and_no_longer_count():
    busy = inputs(uploaded=2, processing=5, group=group(2, safety="hooked", draining=3))
    assert decide(busy).desired == 4
    idle = inputs(processing=3, window=points(5.0), group=group(6, safety="hooked", draining=3))
    assert decide(idle).desired == 2


def test_draining_instances_that_hold_no_video_do_nothing_for_those_that_wait():
    assert decide(inputs(uploaded=3, group=group(1, safety="hooked", draining=3))).desired == 3
    assert decide(inputs(uploaded=3, processing=1, group=group(1, safety="hooked", draining=3))).desired == 3
    shrinking = inputs(uploaded=3, window=points(3.0), group=group(9, safety="hooked", draining=3))
    assert decide(shrinking).desired == 3


@pytest.mark.parametrize(
    ("given", "desired"),
    [
        pytest.param(inputs(uploaded=12, group=group(2)), 7, id="capped"),
        pytest.param(inputs(uploaded=12, group=group(9)), 12, id="within-the-cap"),
        pytest.param(inputs(uploaded=12, group=group(7)), 12, id="exactly-the-cap"),
        pytest.param(blind(12, group=group(2)), 7, id="database-unknown"),
    ],
)
def test_a_step_out_can_be_capped(given, desired):
    decision = decide(replace(given, policy=policy(max_step_out=5)))
    assert (decision.action, decision.desired) == ("scale-out", desired)


def test_as_many_wanted_as_desired_is_no_held_change():
    decision = decide(inputs(uploaded=4, group=group(4)))
    assert (decision.action, decision.desired, decision.held) == ("hold", 4, False)


# In


@pytest.mark.parametrize(
    ("changes", "desired"),
    [
        pytest.param({}, 1, id="calm"),
        pytest.param({"window": points(m1=3)}, 3, id="peak-of-both-windows"),
        pytest.param({"window": points(m2=3, m9=6)}, 4, id="short-peak-and-the-spare"),
        pytest.param({"window": points(m3=3, m9=6)}, 1, id="spare-of-one-above-nothing"),
        pytest.param({"window": points(m2=3, m9=6), "policy": policy(spare_workers=2)}, 5, id="two-spares"),
        pytest.param({"window": points(m2=3, m9=6), "policy": policy(spare_workers=0)}, 3, id="no-spare"),
        pytest.param({"window": points(m2=3, m20=4)}, 4, id="spare-up-to-the-oldest-minute"),
        pytest.param({"window": points(m2=3, m21=7)}, 3, id="older-than-the-window"),
        pytest.param({"window": points(m4=3, m9=6), "policy": policy(peak_window_s=240)}, 4, id="wider"),
        pytest.param({"window": points(m0=6)}, 6, id="the-open-minute-counts"),
        pytest.param({"uploaded": 4}, 4, id="the-value-measured-now-counts"),
        pytest.param({"window": points(6.0), "policy": policy(videos_per_worker=4)}, 2, id="whole-workers"),
        pytest.param({"visible": 15}, 1, id="deletions-wait"),
    ],
)
def test_in_to_the_short_peak_and_the_spare_at_once(changes, desired):
    decision = decide(replace(inputs(group=group(8)), **changes))
    assert (decision.action, decision.desired, decision.held) == ("scale-in", desired, False)


def test_not_in_while_the_queue_is_unknown():
    decision = decide(replace(inputs(group=group(8)), visible=None))
    assert (decision.action, decision.desired, decision.held) == ("hold", 8, True)
    assert "queue" in decision.reason


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(without(1), id="newest-not-readable-yet"),
        pytest.param(without(7), id="one-in-the-middle"),
        pytest.param(without(20), id="the-oldest"),
        pytest.param(without(*range(1, 21, 2)), id="every-second-one"),
    ],
)
def test_single_absent_minutes_do_not_stop_a_scale_in(window):
    assert decide(inputs(group=group(8), window=window)).action == "scale-in"


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(without(7, 8), id="in-the-middle"),
        pytest.param(without(1, 2), id="the-newest-two"),
        pytest.param(without(19, 20), id="the-oldest-two"),
        pytest.param((), id="cloudwatch-away"),
        pytest.param(points(m7=-1, m8=float("nan")), id="values-that-are-no-counts"),
    ],
)
def test_two_adjacent_absent_minutes_hold(window):
    decision = decide(inputs(group=group(8), window=window))
    assert (decision.action, decision.desired, decision.held) == ("hold", 8, True)


@pytest.mark.parametrize(
    ("minutes", "action"),
    [
        pytest.param(range(3, 21, 5), "scale-in", id="each-measurement-there"),
        pytest.param([3, 13, 18], "hold", id="one-measurement-lost"),
    ],
)
def test_on_a_slower_schedule_a_hole_is_longer(minutes, action):
    slow = inputs(group=group(8), window=points(minutes=minutes), policy=policy(measured_every_s=300))
    assert decide(slow).action == action


@pytest.mark.parametrize(
    ("given", "action"),
    [
        pytest.param(inputs(), "scale-in", id="nothing-to-do"),
        pytest.param(inputs(processing=1), "hold", id="one-at-work"),
        pytest.param(inputs(uploaded=1), "hold", id="one-waiting"),
        pytest.param(inputs(visible=1), "hold", id="a-message-waits"),
        pytest.param(replace(inputs(), visible=None), "hold", id="queue-unknown"),
    ],
)
def test_an_unprotected_group_shrinks_only_while_nothing_waits_or_is_at_work(given, action):
    assert decide(replace(given, group=group(8, safety="unprotected"))).action == action


@pytest.mark.parametrize("safety", ["protected", "hooked"])
def test_a_group_whose_busy_instances_survive_shrinks_while_others_work(safety):
    decision = decide(inputs(processing=3, window=points(3.0), group=group(8, safety=safety)))
    assert (decision.action, decision.desired) == ("scale-in", 3)


def test_a_database_that_is_unknown_never_shrinks_the_group():
    assert decide(blind(0, group=group(8))).action == "hold"


def test_a_database_that_is_unknown_keeps_no_instance_that_the_group_is_about_to_end():
    decision = decide(blind(0, group=group(4, in_service=6)))
    assert (decision.action, decision.desired) == ("hold", 4)


# The group's limits


@pytest.mark.parametrize(
    ("given", "action", "desired"),
    [
        pytest.param(inputs(group=group(25)), "scale-in", 1, id="over-the-maximum-and-calm"),
        pytest.param(inputs(group=group(25), window=()), "hold", 20, id="over-the-maximum-on-doubt"),
        pytest.param(inputs(uploaded=40, group=group(25)), "hold", 20, id="over-the-maximum-and-busy"),
        pytest.param(inputs(group=group(0)), "hold", 1, id="under-the-minimum"),
    ],
)
def test_a_group_outside_its_limits_is_brought_back(given, action, desired):
    decision = decide(given)
    assert (decision.action, decision.desired) == (action, desired)


def test_a_minimum_above_the_maximum_is_refused():
    with pytest.raises(ValueError, match="min 3 is greater than max 2"):
        Group(3, 2, 2, 2, "protected")


# Override


@pytest.mark.parametrize(
    ("order", "given", "action", "desired", "held"),
    [
        pytest.param(override("hold"), inputs(uploaded=12), "hold", 1, True, id="hold-withholds-out"),
        pytest.param(override("hold"), inputs(group=group(8)), "hold", 8, True, id="hold-withholds-in"),
        pytest.param(
            override("hold"),
            inputs(uploaded=4, group=group(4)),
            "hold",
            4,
            False,
            id="hold-with-nothing-to-withhold",
        ),
        pytest.param(
            override("no-scale-in"), inputs(group=group(8)), "hold", 8, True, id="no-in-withholds-in"
        ),
        pytest.param(
            override("no-scale-in"), inputs(uploaded=12), "scale-out", 12, False, id="no-in-lets-out"
        ),
        pytest.param(
            override("no-scale-out"), inputs(uploaded=12), "hold", 1, True, id="no-out-withholds-out"
        ),
        pytest.param(
            override("no-scale-out"), inputs(group=group(8)), "scale-in", 1, False, id="no-out-lets-in"
        ),
        pytest.param(override("fixed", 7), inputs(), "scale-out", 7, False, id="fixed-above"),
        pytest.param(
            override("fixed", 7), inputs(uploaded=12, group=group(7)), "hold", 7, False, id="fixed-there"
        ),
        pytest.param(
            override("fixed", 2),
            inputs(processing=9, group=group(9, safety="unprotected"), window=(), uploaded=9),
            "scale-in",
            2,
            False,
            id="fixed-is-an-order-even-on-doubt",
        ),
        pytest.param(
            override("fixed", 99), inputs(), "scale-out", 20, False, id="fixed-within-the-live-limits"
        ),
        pytest.param(
            override("fixed", 5), inputs(group=None), "hold", None, True, id="fixed-without-a-group"
        ),
    ],
)
def test_an_override_takes_precedence(order, given, action, desired, held):
    decision = decide(replace(given, override=order))
    assert (decision.action, decision.desired, decision.held) == (action, desired, held)
    if given.group is not None and (held or order.mode == "fixed"):
        assert "fire drill" in decision.reason


def test_a_reason_warns_when_an_override_may_end_busy_workers():
    given = inputs(processing=9, group=group(9, safety="unprotected"), override=override("fixed", 2))
    assert "may be ended" in decide(given).reason
    assert "may be ended" not in decide(replace(given, group=group(9))).reason
    assert "may be ended" not in decide(replace(given, override=override("fixed", 9))).reason
    assert "may be ended" not in decide(replace(given, processing=0)).reason


@pytest.mark.parametrize(
    ("until", "in_force"),
    [
        pytest.param(AT + timedelta(microseconds=1), True, id="a-moment-left"),
        pytest.param(AT, False, id="expires-at-the-very-moment"),
        pytest.param(AT - timedelta(days=1), False, id="long-over"),
    ],
)
def test_an_override_holds_until_its_end(until, in_force):
    decision = decide(inputs(uploaded=12, override=override("hold", until=until)))
    assert decision.action == ("hold" if in_force else "scale-out")


@pytest.mark.parametrize("problem", ["until: is missing", "it could not be read"])
def test_an_unclear_override_forbids_scale_in_and_says_so(problem):
    decision = decide(inputs(group=group(8), override_problem=problem))
    assert (decision.action, decision.desired, decision.held) == ("hold", 8, True)
    assert problem in decision.reason
    assert decide(inputs(uploaded=12, override_problem=problem)).desired == 12


UNTIL = "2026-03-02T14:00:00+01:00"


def test_an_override_is_read_from_its_text():
    text = json.dumps({"mode": "fixed", "desired": 6, "until": UNTIL, "reason": "launch"})
    expected = Override("fixed", datetime(2026, 3, 2, 13, tzinfo=UTC), 6, "launch")
    assert parse_override(text, AT) == (expected, None)
    assert parse_override(json.dumps(to_builtins(expected)), AT) == (expected, None)


def test_no_parameter_is_no_override_and_no_problem():
    assert parse_override(None, AT) == (None, None)


def test_desired_and_reason_may_be_left_out():
    found, problem = parse_override(json.dumps({"mode": "hold", "until": UNTIL}), AT)
    assert (found.mode, found.desired, problem) == ("hold", None, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"mode": "stop"}, "mode", id="unknown-mode"),
        pytest.param({"mode": None}, "mode", id="no-mode"),
        pytest.param({"mode": ["hold"]}, "mode", id="mode-is-a-list"),
        pytest.param({"mode": "fixed", "desired": -1}, "desired", id="fixed-below-nothing"),
        pytest.param({"desired": 2.5}, "desired", id="half-a-worker"),
        pytest.param({"desired": True}, "desired", id="desired-is-a-boolean"),
        pytest.param({"until": "tomorrow"}, "until", id="no-time"),
        pytest.param({"until": "2026-03-02T14:00:00"}, "until", id="no-offset"),
        pytest.param({"until": 1772452800}, "until", id="a-number-for-a-time"),
        pytest.param({"reason": 3}, "reason", id="reason-is-a-number"),
        pytest.param({"Until": UNTIL}, "Until", id="unknown-field"),
    ],
)
def test_a_malformed_override_names_the_field(changes, field):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch", **changes}
    found, problem = parse_override(json.dumps(record), AT)
    assert found is None
    assert problem.startswith(f"{field}: ")


@pytest.mark.parametrize("desired", [{}, {"desired": None}], ids=["desired-is-absent", "desired-is-null"])
def test_a_fixed_override_needs_a_number_of_workers(desired):
    record = {"mode": "fixed", "until": UNTIL, "reason": "launch", **desired}
    found, problem = parse_override(json.dumps(record), AT)
    assert found is None
    assert "desired" in problem


@pytest.mark.parametrize("missing", ["mode", "until"])
def test_an_incomplete_override_names_what_is_missing(missing):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch"}
    del record[missing]
    assert parse_override(json.dumps(record), AT) == (None, f"{missing}: is missing")


@pytest.mark.parametrize("text", ["", "hold", "[]", "null", '"hold"', "{", "[" * 100_000])
def test_text_that_is_no_object_is_malformed(text):
    found, problem = parse_override(text, AT)
    assert found is None
    assert problem


@pytest.mark.parametrize(("ahead", "accepted"), [(timedelta(days=30), True), (timedelta(days=31), False)])
def test_a_time_that_is_absurdly_far_ahead_is_a_mistake(ahead, accepted):
    found, problem = parse_override(json.dumps({"mode": "hold", "until": (AT + ahead).isoformat()}), AT)
    assert (found is not None, problem is None) == (accepted, accepted)
    assert accepted or problem.startswith("until: ")


# Records


def test_a_record_is_json_and_gives_the_same_decision_again():
    given = inputs(
        uploaded=3,
        visible=2,
        group=group(8, safety="hooked", draining=1),
        override=override("no-scale-in"),
        policy=Policy(2, 1, 120, 240, 120, 3),
    )
    decision = decide(given)
    record = json.loads(json.dumps(to_builtins(decision)))
    assert set(record) == {"action", "desired", "reason", "held", "inputs"}
    assert from_builtins(record, Decision) == decision
    assert decide(from_builtins(record["inputs"], Inputs)) == decision


def test_the_number_of_workers_is_a_whole_number():
    given = inputs(group=group(8), window=points(m1=3, m2=3), policy=policy(videos_per_worker=2))
    decision = decide(given)
    assert (decision.action, decision.desired, type(decision.desired)) == ("scale-in", 2, int)


@pytest.mark.parametrize(("visible", "known"), [(3, "3"), (0, "0"), (None, "unknown")])
def test_without_the_database_the_reason_names_the_messages(visible, known):
    assert f"messages waiting: {known}." in decide(blind(visible, group=group(9))).reason


def test_whole_numbers_may_come_back_as_floats():
    record = to_builtins(decide(inputs(uploaded=3)))
    record["inputs"]["uploaded"] = 3.0
    record["desired"] = 3.0
    assert from_builtins(record, Decision, strict=False) == decide(inputs(uploaded=3))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        pytest.param(("at",), "noon", "at", id="time"),
        pytest.param(("at",), "2026-03-02T12:00:07", "at", id="time-without-a-zone"),
        pytest.param(("uploaded",), "3", "uploaded", id="count"),
        pytest.param(("inFlight",), {}, "inFlight", id="reading"),
        pytest.param(("window",), {}, "window", id="window"),
        pytest.param(("window", 4, "value"), None, "window[4].value", id="point"),
        pytest.param(("group", "safety"), "none", "group.safety", id="choice"),
        pytest.param(("group", "max"), 0, "group", id="group-without-room"),
        pytest.param(("policy", "videosPerWorker"), 0, "policy.videosPerWorker", id="policy"),
        pytest.param(("overrideProblem",), 1, "overrideProblem", id="text"),
        pytest.param(("override",), {"mode": "hold"}, "override.until", id="missing"),
    ],
)
def test_a_record_that_cannot_be_read_names_the_field(path, value, field):
    record = to_builtins(inputs())
    record["window"] = list(record["window"])
    *parents, last = path
    target = record
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(Malformed) as caught:
        from_builtins(record, Inputs)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        pytest.param("action", "explode", "action", id="unknown-action"),
        pytest.param("reason", None, "reason", id="no-reason"),
        pytest.param("held", "no", "held", id="held-is-text"),
    ],
)
def test_a_decision_that_cannot_be_read_names_the_field(name, value, field):
    record = {**to_builtins(decide(inputs())), name: value}
    with pytest.raises(Malformed) as caught:
        from_builtins(record, Decision)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"videosPerWorker": 0}, "videosPerWorker"),
        ({"videosPerWorker": 1.5}, "videosPerWorker"),
        ({"maxStepOut": 0}, "maxStepOut"),
        ({"spareWorkers": -1}, "spareWorkers"),
        ({"peakWindowS": 90}, "peakWindowS"),
        ({"measuredEveryS": None}, "measuredEveryS"),
        ({"scaleInWindowS": -60}, "scaleInWindowS"),
        ({"scaleInWindowS": True}, "scaleInWindowS"),
        ({"scaleInWindowS": 1230}, "scaleInWindowS"),
        ({"measuredEveryS": 90}, "measuredEveryS"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(setting, field):
    with pytest.raises(Malformed) as caught:
        from_builtins({**to_builtins(policy()), **setting}, Policy)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("window_s", "every_s", "accepted"),
    [(120, 60, True), (60, 60, False), (600, 300, True), (540, 300, False), (120, 30 * 60, False)],
)
def test_the_window_spans_at_least_two_measurements(window_s, every_s, accepted):
    record = {**to_builtins(policy()), "scaleInWindowS": window_s, "measuredEveryS": every_s}
    if accepted:
        assert from_builtins(record, Policy).scale_in_window_s == window_s
    else:
        with pytest.raises(Malformed, match="scaleInWindowS"):
            from_builtins(record, Policy)


def test_the_short_window_is_the_shorter_one():
    with pytest.raises(Malformed, match="scaleInWindowS must be at least 240"):
        from_builtins({**to_builtins(policy()), "scaleInWindowS": 180, "peakWindowS": 240}, Policy)
