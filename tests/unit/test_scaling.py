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


def points(value=0.0, minutes=range(1, 21)):
    """One point a minute; `minutes` counts back from the minute of the decision."""
    return tuple(Point(MINUTE - timedelta(minutes=ago), value) for ago in minutes)


def group(desired=1, **changes):
    return replace(Group(min=1, max=20, desired=desired, in_service=desired, protected=True), **changes)


def override(mode, desired=None, until=AT + timedelta(hours=1)):
    return Override(mode, until, "fire drill", desired)


def policy(**changes):
    given = Policy(videos_per_worker=1, scale_in_window_s=1200, measured_every_s=60, max_step_out=None)
    return replace(given, **changes)


def inputs(uploaded=0, processing=0, *, visible=None, in_flight=0, **changes):
    given = Inputs(
        at=AT,
        uploaded=uploaded,
        processing=processing,
        visible=uploaded if visible is None else visible,
        in_flight=in_flight,
        window=points(),
        group=group(),
        policy=policy(),
    )
    return replace(given, **changes)


def verdict(decision, rule):
    return {finding.rule: finding.verdict for finding in decision.rules}[rule]


# Rule 2


@pytest.mark.parametrize(
    "window", [pytest.param(points(), id="calm-window"), pytest.param((), id="no-window")]
)
def test_nothing_known_of_the_backlog_holds(window):
    blind = dict.fromkeys(("uploaded", "processing", "visible", "in_flight"), None)
    decision = decide(replace(inputs(group=group(9), window=window), **blind))
    assert (decision.action, decision.desired, decision.held, decision.want) == ("hold", 9, True, None)
    assert "Nothing is known of the backlog" in decision.reason


# Rules 3 and 4


@pytest.mark.parametrize(
    ("readings", "videos_per_worker", "want"),
    [
        pytest.param({"uploaded": 9, "processing": 3, "visible": 0}, 1, 12, id="database"),
        pytest.param({"visible": 7, "in_flight": 4}, 1, 11, id="queue-knows-of-more"),
        pytest.param({"uploaded": 9, "processing": 3, "visible": 9}, 5, 3, id="rounded-up-to-whole-workers"),
        pytest.param({"uploaded": 10, "visible": 0}, 5, 2, id="divides-evenly"),
        pytest.param({"uploaded": 900}, 1, 20, id="never-over-the-live-maximum"),
        pytest.param({"uploaded": 0}, 1, 1, id="never-under-the-live-minimum"),
        pytest.param({"uploaded": 10**400, "visible": 0}, 3, 20, id="larger-than-a-float"),
    ],
)
def test_want_follows_the_largest_source(readings, videos_per_worker, want):
    assert decide(inputs(**readings, policy=policy(videos_per_worker=videos_per_worker))).want == want


@pytest.mark.parametrize(
    ("unknown", "want"),
    [
        pytest.param(("uploaded", "processing"), 7, id="database-unknown-queue-counts"),
        pytest.param(("visible", "in_flight"), 8, id="queue-unknown-database-counts"),
        pytest.param(("uploaded", "visible", "in_flight"), 3, id="processing-alone-is-a-lower-bound"),
        pytest.param(("processing", "visible", "in_flight"), 5, id="uploaded-alone-is-a-lower-bound"),
        pytest.param(("uploaded", "processing", "in_flight"), 5, id="visible-alone-is-a-lower-bound"),
        pytest.param(("uploaded", "processing", "visible"), 2, id="in-flight-alone-is-a-lower-bound"),
    ],
)
def test_an_unknown_source_does_not_stop_scaling_out(unknown, want):
    known = inputs(uploaded=5, processing=3, visible=5, in_flight=2)
    decision = decide(replace(known, **dict.fromkeys(unknown, None)))
    assert (decision.action, decision.desired) == ("scale-out", want)


def test_twelve_videos_take_the_group_from_one_to_twelve_at_once():
    decision = decide(inputs(uploaded=12, window=()))
    assert (decision.action, decision.desired, decision.held) == ("scale-out", 12, False)
    assert decision.reason == "The backlog asks for 12 workers, desired 1: out to 12."


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        pytest.param(2, 7, id="capped"),
        pytest.param(9, 12, id="within-the-cap"),
        pytest.param(7, 12, id="exactly-the-cap"),
    ],
)
def test_a_step_out_can_be_capped(desired, expected):
    decision = decide(inputs(uploaded=12, group=group(desired), policy=policy(max_step_out=5)))
    assert (decision.action, decision.desired) == ("scale-out", expected)


def test_a_capped_step_still_reaches_the_live_minimum():
    limits = group(0, min=4)
    assert decide(inputs(uploaded=12, group=limits, policy=policy(max_step_out=1))).desired == 4


def test_as_many_wanted_as_desired_is_no_held_change():
    decision = decide(inputs(uploaded=4, group=group(4)))
    assert (decision.action, decision.desired, decision.held) == ("hold", 4, False)


# Rule 5


@pytest.mark.parametrize(
    ("changes", "desired"),
    [
        pytest.param({}, 1, id="calm-and-certain"),
        pytest.param({"window": points(3.0)}, 3, id="to-the-windows-highest"),
        pytest.param({"window": (*points(), Point(MINUTE, 6.0))}, 6, id="the-open-minute-counts"),
        pytest.param({"uploaded": 4}, 4, id="the-value-measured-now-counts"),
        pytest.param({"visible": 5}, 5, id="the-queue-counts-too"),
        pytest.param(
            {"window": points(6.0), "policy": policy(videos_per_worker=4)}, 2, id="in-whole-workers"
        ),
    ],
)
def test_scales_in_to_the_highest_want_of_a_calm_window(changes, desired):
    decision = decide(replace(inputs(group=group(8)), **changes))
    assert (decision.action, decision.desired, decision.held) == ("scale-in", desired, False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"uploaded": None}, "unknown UPLOADED", id="waiting-unknown"),
        pytest.param({"processing": None}, "unknown PROCESSING", id="processing-unknown"),
        pytest.param({"visible": None}, "unknown visible", id="visible-unknown"),
        pytest.param({"in_flight": None}, "unknown in flight", id="in-flight-unknown"),
        pytest.param({"override_known": False}, "override could not be read", id="override-unknown"),
        pytest.param({"window": ()}, "19 of the last 20 minutes", id="no-window"),
        pytest.param({"window": points(8.0)}, "8 were wanted", id="busy-window"),
        pytest.param(
            {"window": (*points(), Point(MINUTE - timedelta(minutes=20), 8.0))},
            "8 were wanted",
            id="busy-at-first",
        ),
    ],
)
def test_never_scales_in_on_doubt(changes, why):
    decision = decide(replace(inputs(group=group(8)), **changes))
    assert (decision.action, decision.desired, decision.held) == ("hold", 8, True)
    assert why in verdict(decision, "scale-in")
    assert why in decision.reason


@pytest.mark.parametrize(
    ("present", "covered"),
    [
        pytest.param(range(1, 21), True, id="every-minute"),
        pytest.param(range(2, 21), True, id="newest-full-minute-not-readable-yet"),
        pytest.param(range(3, 21), False, id="newest-two-full-minutes-absent"),
        pytest.param(range(1, 20), False, id="first-minute-absent"),
        pytest.param([ago for ago in range(1, 21) if ago != 11], False, id="a-gap-in-the-middle"),
        pytest.param([*range(2, 20), 21], False, id="a-point-before-the-window-fills-no-gap"),
        pytest.param([20, *range(2, 20), 21, 30], True, id="any-order-and-older-points"),
        pytest.param([0, -1, *range(3, 21)], False, id="newer-points-fill-no-gap"),
    ],
)
@pytest.mark.parametrize("second", [0, 7, 59])
def test_a_window_is_covered_by_a_point_for_each_minute_but_the_newest(present, covered, second):
    given = inputs(group=group(8), window=points(0.0, present), at=MINUTE.replace(second=second))
    assert decide(given).action == ("scale-in" if covered else "hold")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_point_that_is_no_count_leaves_its_minute_unknown(value):
    window = (*points(0.0, range(2, 20)), Point(MINUTE - timedelta(minutes=20), value))
    assert decide(inputs(group=group(8), window=window)).action == "hold"


def test_points_stamped_within_their_minute_count_for_it():
    late = tuple(Point(point.at + timedelta(seconds=31), 0.0) for point in points(0.0, range(2, 21)))
    assert decide(inputs(group=group(8), window=late)).action == "scale-in"


def test_a_peak_before_the_window_is_over():
    window = (*points(0.0), Point(MINUTE - timedelta(minutes=21), 19.0))
    assert decide(inputs(group=group(8), window=window)).desired == 1


def test_the_window_is_as_long_as_the_policy_says():
    short = policy(scale_in_window_s=180)
    window = points(0.0, range(2, 4))
    assert decide(inputs(group=group(8), window=window, policy=short)).action == "scale-in"
    assert decide(inputs(group=group(8), window=window[:1], policy=short)).action == "hold"


@pytest.mark.parametrize("phase", range(5))
@pytest.mark.parametrize("rate", [2, 5, 10])
def test_a_slower_schedule_covers_the_window_with_fewer_points(rate, phase):
    slow = policy(measured_every_s=60 * rate)
    minutes = range(phase % rate, 21, rate)
    covered = inputs(group=group(8), window=points(3.0, minutes), policy=slow)
    assert (decide(covered).action, decide(covered).desired) == ("scale-in", 3)
    assert decide(replace(covered, policy=policy())).action == "hold"


def test_a_slower_schedule_that_paused_does_not():
    slow = policy(measured_every_s=300)
    window = points(0.0, [0, 5, 15, 20])
    assert decide(inputs(group=group(8), window=window, policy=slow)).action == "hold"


@pytest.mark.parametrize(
    ("processing", "live", "desired"),
    [
        pytest.param(3, group(8), 3, id="protected-in-to-those-at-work"),
        pytest.param(3, group(8, unprotected=5), 3, id="as-many-unprotected-as-idle"),
        pytest.param(3, group(8, unprotected=6), 8, id="more-unprotected-than-idle"),
        pytest.param(
            9, group(12, in_service=3, unprotected=1), 12, id="rows-of-dead-workers-prove-no-idleness"
        ),
        pytest.param(3, group(8, protected=False), 8, id="unprotected-holds-while-any-is-at-work"),
        pytest.param(
            0, group(8, protected=False, unprotected=8), 1, id="unprotected-in-when-none-is-at-work"
        ),
    ],
)
def test_busy_workers_are_spared(processing, live, desired):
    decision = decide(inputs(processing=processing, group=live))
    assert decision.desired == desired
    assert decision.held == (desired == live.desired)


def test_never_below_processing_however_many_videos_a_worker_holds():
    shared = policy(videos_per_worker=4)
    assert decide(inputs(processing=6, group=group(8), policy=shared)).desired == 6


# The group's limits


@pytest.mark.parametrize(
    ("given", "action", "desired"),
    [
        pytest.param(inputs(group=group(25)), "scale-in", 1, id="over-the-maximum-and-calm"),
        pytest.param(inputs(group=group(25), window=()), "hold", 20, id="over-the-maximum-on-doubt"),
        pytest.param(inputs(uploaded=40, group=group(25)), "scale-in", 20, id="over-the-maximum-and-busy"),
        pytest.param(inputs(group=group(0)), "scale-out", 1, id="under-the-minimum"),
        pytest.param(
            inputs(group=group(0), override=override("hold")),
            "hold",
            1,
            id="under-the-minimum-and-told-to-hold",
        ),
    ],
)
def test_desired_comes_within_the_live_limits(given, action, desired):
    decision = decide(given)
    assert (decision.action, decision.desired) == (action, desired)


def test_an_unknown_group_is_left_alone_but_the_want_is_told():
    decision = decide(inputs(uploaded=30, group=None))
    assert (decision.action, decision.desired, decision.held) == ("hold", None, True)
    assert decision.want == 30


def test_limits_that_leave_no_room_are_refused():
    with pytest.raises(ValueError, match="min 3 is greater than max 2"):
        Group(3, 2, 2, 2, False)


# Rule 1


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
            inputs(processing=9, group=group(9, protected=False), window=(), uploaded=9),
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
def test_an_override_goes_first(order, given, action, desired, held):
    decision = decide(replace(given, override=order))
    assert (decision.action, decision.desired, decision.held) == (action, desired, held)
    if given.group is not None and held:
        assert "fire drill" in decision.reason
    assert "In force" in verdict(decision, "override")


def test_an_order_that_may_cost_work_says_so():
    given = inputs(processing=9, group=group(9, protected=False), override=override("fixed", 2))
    assert "may lose their video" in decide(given).reason
    assert "may lose their video" not in decide(replace(given, group=group(9))).reason


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
    assert ("expired" in verdict(decision, "override")) == (not in_force)


def test_a_malformed_override_is_reported_and_changes_nothing():
    decision = decide(inputs(group=group(8), override_problem="until: missing"))
    assert decision.action == "scale-in"
    assert verdict(decision, "override") == "Ignored, malformed: until: missing."


def test_an_unreadable_override_lets_the_fleet_grow():
    decision = decide(inputs(uploaded=12, override_known=False))
    assert (decision.action, decision.desired) == ("scale-out", 12)


UNTIL = "2026-03-02T14:00:00+01:00"


def test_an_override_is_read_from_its_text():
    text = json.dumps({"mode": "fixed", "desired": 6, "until": UNTIL, "reason": "launch"})
    expected = Override("fixed", datetime(2026, 3, 2, 13, tzinfo=UTC), "launch", 6)
    assert parse_override(text) == (expected, None)
    assert parse_override(json.dumps(to_builtins(expected))) == (expected, None)


def test_no_parameter_is_no_override_and_no_problem():
    assert parse_override(None) == (None, None)


def test_desired_may_be_left_out_of_the_other_modes():
    found, problem = parse_override(json.dumps({"mode": "hold", "until": UNTIL, "reason": "launch"}))
    assert (found.mode, found.desired, problem) == ("hold", None, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"mode": "stop"}, "mode", id="unknown-mode"),
        pytest.param({"mode": None}, "mode", id="no-mode"),
        pytest.param({"mode": ["hold"]}, "mode", id="mode-is-a-list"),
        pytest.param({"mode": "fixed", "desired": -1}, "desired", id="fixed-below-nothing"),
        pytest.param({"desired": 2.5}, "desired", id="half-a-worker"),
        pytest.param({"desired": True}, "desired", id="desired-is-a-truth"),
        pytest.param({"until": "tomorrow"}, "until", id="no-time"),
        pytest.param({"until": "2026-03-02T14:00:00"}, "until", id="no-offset"),
        pytest.param({"until": 1772452800}, "until", id="a-number-for-a-time"),
        pytest.param({"reason": 3}, "reason", id="reason-is-a-number"),
        pytest.param({"Until": UNTIL}, "Until", id="unknown-field"),
    ],
)
def test_a_malformed_override_names_the_field(changes, field):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch", **changes}
    found, problem = parse_override(json.dumps(record))
    assert found is None
    assert problem.startswith(f"override: {field}: ")


@pytest.mark.parametrize("desired", [{}, {"desired": None}], ids=["desired-is-absent", "desired-is-null"])
def test_a_fixed_override_needs_a_number_of_workers(desired):
    record = {"mode": "fixed", "until": UNTIL, "reason": "launch", **desired}
    found, problem = parse_override(json.dumps(record))
    assert found is None
    assert problem.startswith("override: ")
    assert "desired" in problem


@pytest.mark.parametrize("missing", ["mode", "until", "reason"])
def test_an_incomplete_override_names_what_is_missing(missing):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch"}
    del record[missing]
    assert parse_override(json.dumps(record)) == (None, f"override: {missing}: is missing")


@pytest.mark.parametrize("text", ["", "hold", "[]", "null", '"hold"', "{", "[" * 100_000])
def test_text_that_is_no_object_is_malformed(text):
    found, problem = parse_override(text)
    assert found is None
    assert problem.startswith("override: ")


# Records


def test_every_rule_has_a_verdict_in_order():
    names = [finding.rule for finding in decide(inputs()).rules]
    assert names == ["override", "backlog", "want", "scale-out", "scale-in"]


def test_a_record_is_json_and_gives_the_same_decision_again():
    given = inputs(
        uploaded=3,
        visible=2,
        group=group(8, unprotected=1),
        override=override("no-scale-in"),
        policy=Policy(2, 240, 120, 3),
    )
    decision = decide(given)
    record = json.loads(json.dumps(to_builtins(decision)))
    assert set(record) == {"action", "desired", "reason", "held", "rules", "want", "inputs"}
    assert record["rules"][0] == {"rule": "override", "verdict": verdict(decision, "override")}
    assert from_builtins(record, Decision) == decision
    assert decide(from_builtins(record["inputs"], Inputs)) == decision


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
        pytest.param(("group", "protected"), 1, "group.protected", id="truth"),
        pytest.param(("group", "max"), 0, "group", id="group-without-room"),
        pytest.param(("policy", "videosPerWorker"), 0, "policy.videosPerWorker", id="policy"),
        pytest.param(("overrideProblem",), 1, "overrideProblem", id="text"),
        pytest.param(("override",), {"mode": "hold", "until": UNTIL}, "override.reason", id="missing"),
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
        pytest.param("rules", [1], "rules[0]", id="finding-is-a-number"),
        pytest.param("rules", [{"rule": "override"}], "rules[0].verdict", id="finding-without-a-verdict"),
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
    [(120, 60, True), (60, 60, False), (600, 300, True), (540, 300, False)],
)
def test_the_window_spans_at_least_two_measurements(window_s, every_s, accepted):
    record = {**to_builtins(policy()), "scaleInWindowS": window_s, "measuredEveryS": every_s}
    if accepted:
        assert from_builtins(record, Policy).scale_in_window_s == window_s
    else:
        with pytest.raises(Malformed, match="scaleInWindowS"):
            from_builtins(record, Policy)
