"""The scaling decision, rule by rule."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from video_reclaim.scaling import (
    Decision,
    Group,
    Inputs,
    Override,
    Point,
    Policy,
    Reading,
    decide,
    parse_override,
)

AT = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
MINUTE = AT.replace(second=0)
UNKNOWN = Reading(None, None)


def points(value=0.0, minutes=range(1, 21)):
    """One point a minute; `minutes` counts back from the minute of the decision."""
    return tuple(Point(MINUTE - timedelta(minutes=ago), value) for ago in minutes)


def group(desired=1, **changes):
    return replace(Group(min=1, max=20, desired=desired, in_service=desired, protected=True), **changes)


def override(mode, desired=None, until=AT + timedelta(hours=1)):
    return Override(mode, desired, until, "fire drill")


def inputs(uploaded=0, processing=0, *, visible=None, in_flight=0, **changes):
    given = Inputs(
        at=AT,
        uploaded=Reading(uploaded, 1.0),
        processing=Reading(processing, 1.0),
        visible=Reading(uploaded if visible is None else visible, 1.0),
        in_flight=Reading(in_flight, 1.0),
        window=points(),
        queue_window=points(),
        group=group(),
    )
    return replace(given, **changes)


def verdict(decision, rule):
    return dict(decision.rules)[rule]


# Rule 2


@pytest.mark.parametrize(
    "window", [pytest.param(points(), id="calm-window"), pytest.param((), id="no-window")]
)
def test_nothing_known_of_the_backlog_holds(window):
    blind = dict.fromkeys(("uploaded", "processing", "visible", "in_flight"), UNKNOWN)
    decision = decide(replace(inputs(group=group(9), window=window), **blind))
    assert (decision.action, decision.desired, decision.held, decision.want) == ("hold", 9, True, None)
    assert "Nothing fresh is known" in decision.reason


@pytest.mark.parametrize(
    ("age_s", "known"),
    [
        pytest.param(120.0, True, id="exactly-at-the-limit"),
        pytest.param(120.1, False, id="a-moment-too-old"),
        pytest.param(None, False, id="no-age"),
        pytest.param(float("nan"), False, id="age-is-no-number"),
        pytest.param(-2.0, True, id="clocks-differ-a-little"),
    ],
)
def test_a_reading_counts_while_it_is_fresh(age_s, known):
    others = dict.fromkeys(("processing", "visible", "in_flight"), UNKNOWN)
    decision = decide(replace(inputs(), uploaded=Reading(7, age_s), **others))
    assert decision.want == (7 if known else None)


def test_a_negative_count_is_unknown():
    assert decide(inputs(uploaded=-1, visible=0, group=group(5))).action == "hold"
    assert "UPLOADED" in verdict(decide(inputs(uploaded=-1, visible=0)), "fresh-backlog")


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
    assert decide(inputs(**readings, policy=Policy(videos_per_worker=videos_per_worker))).want == want


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
    decision = decide(replace(known, **dict.fromkeys(unknown, UNKNOWN)))
    assert (decision.action, decision.desired) == ("scale-out", want)


def test_twelve_videos_take_the_group_from_one_to_twelve_at_once():
    decision = decide(inputs(uploaded=12, window=(), queue_window=()))
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
    decision = decide(inputs(uploaded=12, group=group(desired), policy=Policy(max_step_out=5)))
    assert (decision.action, decision.desired) == ("scale-out", expected)


def test_a_capped_step_still_reaches_the_live_minimum():
    limits = group(0, min=4)
    assert decide(inputs(uploaded=12, group=limits, policy=Policy(max_step_out=1))).desired == 4


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
        pytest.param({"uploaded": Reading(4, 1.0)}, 4, id="the-value-measured-now-counts"),
        pytest.param({"visible": Reading(5, 1.0)}, 5, id="the-queue-counts-too"),
        pytest.param(
            {"window": points(6.0), "policy": Policy(videos_per_worker=4)}, 2, id="in-whole-workers"
        ),
    ],
)
def test_scales_in_to_the_highest_want_of_a_calm_window(changes, desired):
    decision = decide(
        inputs(group=group(8), **{}) if not changes else replace(inputs(group=group(8)), **changes)
    )
    assert (decision.action, decision.desired, decision.held) == ("scale-in", desired, False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"uploaded": UNKNOWN}, "unknown UPLOADED", id="waiting-unknown"),
        pytest.param({"processing": UNKNOWN}, "unknown PROCESSING", id="processing-unknown"),
        pytest.param({"visible": UNKNOWN}, "unknown visible", id="visible-unknown"),
        pytest.param({"in_flight": UNKNOWN}, "unknown in flight", id="in-flight-unknown"),
        pytest.param({"in_flight": Reading(0, 121.0)}, "unknown in flight", id="stale"),
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
    short = Policy(scale_in_window_s=180)
    window = points(0.0, range(2, 4))
    assert decide(inputs(group=group(8), window=window, policy=short)).action == "scale-in"
    assert decide(inputs(group=group(8), window=window[:1], policy=short)).action == "hold"


@pytest.mark.parametrize("phase", range(5))
@pytest.mark.parametrize("rate", [2, 5, 10])
def test_a_slower_schedule_covers_the_window_with_fewer_points(rate, phase):
    slow = Policy(measured_every_s=60 * rate)
    minutes = range(phase % rate, 21, rate)
    covered = inputs(group=group(8), window=points(3.0, minutes), policy=slow)
    assert (decide(covered).action, decide(covered).desired) == ("scale-in", 3)
    assert decide(replace(covered, policy=Policy())).action == "hold"


def test_a_slower_schedule_that_paused_does_not():
    slow = Policy(measured_every_s=300)
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
    policy = Policy(videos_per_worker=4)
    assert decide(inputs(processing=6, group=group(8), policy=policy)).desired == 6


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
    assert (decision.want, decision.legacy_desired) == (30, None)


def test_limits_that_leave_no_room_are_refused():
    with pytest.raises(ValueError, match=r"group: min 3 and max 2"):
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
    decision = decide(inputs(group=group(8), override_problem="override.until: missing"))
    assert decision.action == "scale-in"
    assert verdict(decision, "override") == "Ignored, malformed: override.until: missing."


def test_an_unreadable_override_lets_the_fleet_grow():
    decision = decide(inputs(uploaded=12, override_known=False))
    assert (decision.action, decision.desired) == ("scale-out", 12)


UNTIL = "2026-03-02T14:00:00+01:00"


def test_an_override_is_read_from_its_text():
    text = json.dumps({"mode": "fixed", "desired": 6, "until": UNTIL, "reason": "launch"})
    expected = Override("fixed", 6, datetime(2026, 3, 2, 13, tzinfo=UTC), "launch")
    assert parse_override(text) == (expected, None)
    assert parse_override(json.dumps(expected.to_record())) == (expected, None)


def test_no_parameter_is_no_override_and_no_problem():
    assert parse_override(None) == (None, None)


def test_desired_may_be_left_out_of_the_other_modes():
    found, problem = parse_override(json.dumps({"mode": "hold", "until": UNTIL, "reason": "launch"}))
    assert (found.mode, found.desired, problem) == ("hold", None, None)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"mode": "stop"}, "override.mode", id="unknown-mode"),
        pytest.param({"mode": None}, "override.mode", id="no-mode"),
        pytest.param({"mode": ["hold"]}, "override.mode", id="mode-is-a-list"),
        pytest.param({"mode": "fixed"}, "override.desired", id="fixed-without-desired"),
        pytest.param({"mode": "fixed", "desired": None}, "override.desired", id="fixed-at-null"),
        pytest.param({"mode": "fixed", "desired": -1}, "override.desired", id="fixed-below-nothing"),
        pytest.param({"desired": 2.5}, "override.desired", id="half-a-worker"),
        pytest.param({"desired": True}, "override.desired", id="desired-is-a-truth"),
        pytest.param({"until": "tomorrow"}, "override.until", id="no-time"),
        pytest.param({"until": "2026-03-02T14:00:00"}, "override.until", id="no-offset"),
        pytest.param({"until": 1772452800}, "override.until", id="a-number-for-a-time"),
        pytest.param({"reason": 3}, "override.reason", id="reason-is-a-number"),
    ],
)
def test_a_malformed_override_names_the_field(changes, field):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch", **changes}
    found, problem = parse_override(json.dumps(record))
    assert found is None
    assert problem.startswith(f"{field}: ")


@pytest.mark.parametrize("missing", ["mode", "until", "reason"])
def test_an_incomplete_override_names_what_is_missing(missing):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch"}
    del record[missing]
    assert parse_override(json.dumps(record)) == (None, f"override.{missing}: missing")


@pytest.mark.parametrize("text", ["", "hold", "[]", "null", '"hold"', "{", "[" * 100_000])
def test_text_that_is_no_object_is_malformed(text):
    found, problem = parse_override(text)
    assert found is None
    assert problem.startswith("override: ")


# Rule 6


@pytest.mark.parametrize(
    ("given", "legacy"),
    [
        pytest.param(inputs(visible=3, in_flight=4), 7, id="in-flight-and-visible"),
        pytest.param(inputs(visible=40, in_flight=4), 9, id="at-most-five-of-the-visible"),
        pytest.param(inputs(visible=40, in_flight=4, policy=Policy(legacy_step=2)), 6, id="another-step"),
        pytest.param(inputs(visible=40, in_flight=18), 20, id="within-the-maximum"),
        pytest.param(inputs(visible=1, group=group(9, min=3)), 3, id="within-the-minimum"),
        pytest.param(inputs(visible=0, in_flight=2, group=group(9)), 2, id="in-flight-alone"),
        pytest.param(inputs(group=group(9)), 1, id="empty-for-the-whole-time"),
        pytest.param(inputs(group=group(9), queue_window=points(1.0)), 9, id="empty-for-less"),
        pytest.param(inputs(group=group(9), queue_window=()), 9, id="empty-since-unknown"),
        pytest.param(inputs(group=group(9), queue_window=points(0.0, range(2, 20))), 9, id="a-minute-short"),
        pytest.param(
            inputs(
                group=group(9), policy=Policy(scale_in_window_s=180), queue_window=points(0.0, range(1, 4))
            ),
            9,
            id="its-own-window-whatever-the-policys",
        ),
        pytest.param(inputs(group=group(9), visible=2, window=()), 2, id="database-does-not-matter"),
        pytest.param(replace(inputs(), visible=UNKNOWN), None, id="visible-unknown"),
        pytest.param(replace(inputs(), in_flight=UNKNOWN), None, id="in-flight-unknown"),
        pytest.param(inputs(group=None), None, id="group-unknown"),
    ],
)
def test_the_former_policy_is_computed_beside_it(given, legacy):
    assert decide(given).legacy_desired == legacy


# Records


def test_every_rule_has_a_verdict_in_order():
    names = [name for name, _ in decide(inputs()).rules]
    assert names == ["override", "fresh-backlog", "want", "scale-out", "scale-in", "legacy"]


def test_a_record_is_json_and_gives_the_same_decision_again():
    given = inputs(
        uploaded=3,
        visible=2,
        group=group(8, unprotected=1),
        override=override("no-scale-in"),
        policy=Policy(2, 240, 120, 3, 90, 4),
    )
    decision = decide(given)
    record = json.loads(json.dumps(decision.to_record()))
    assert set(record) == {"action", "desired", "reason", "held", "rules", "legacyDesired", "want", "inputs"}
    assert record["rules"][0] == {"rule": "override", "verdict": verdict(decision, "override")}
    assert Decision.from_record(record) == decision
    assert decide(Inputs.from_record(record["inputs"])) == decision


def test_whole_numbers_may_come_back_as_floats():
    record = decide(inputs(uploaded=3)).to_record()
    record["inputs"]["uploaded"]["value"] = 3.0
    record["desired"] = 3.0
    assert decide(Decision.from_record(record).inputs).to_record() == decide(inputs(uploaded=3)).to_record()


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        pytest.param(("at",), "noon", "inputs.at: must be an ISO 8601 time", id="time"),
        pytest.param(("uploaded", "value"), "3", "inputs.uploaded.value: must be a whole number", id="count"),
        pytest.param(("visible", "ageS"), True, "inputs.visible.ageS: must be a number", id="age"),
        pytest.param(("inFlight",), 3, "inputs.inFlight: must be an object", id="reading"),
        pytest.param(("window",), {}, "inputs.window: must be a list", id="window"),
        pytest.param(("window", 4, "value"), None, "inputs.window[4].value: must be a number", id="point"),
        pytest.param(("group", "protected"), 1, "inputs.group.protected: must be true or false", id="truth"),
        pytest.param(("policy", "freshWithinS"), 0, "fresh_within_s: must be", id="policy"),
        pytest.param(("overrideProblem",), 1, "inputs.overrideProblem: must be a string", id="text"),
        pytest.param(("override",), {"mode": "hold"}, "inputs.override.reason: missing", id="missing"),
    ],
)
def test_a_record_that_cannot_be_read_names_the_field(path, value, problem):
    record = inputs().to_record()
    *parents, last = path
    target = record
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(ValueError) as caught:
        Inputs.from_record(record)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "explode"),
        ("rules", [1]),
        ("rules", [{"rule": "override"}]),
        ("reason", None),
        ("held", "no"),
    ],
)
def test_a_decision_that_cannot_be_read_names_the_field(field, value):
    record = decide(inputs()).to_record()
    record[field] = value
    with pytest.raises(ValueError, match=f"decision.{field}"):
        Decision.from_record(record)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"videos_per_worker": 0}, "videos_per_worker"),
        ({"videos_per_worker": 1.5}, "videos_per_worker"),
        ({"max_step_out": 0}, "max_step_out"),
        ({"fresh_within_s": True}, "fresh_within_s"),
        ({"legacy_step": None}, "legacy_step"),
        ({"scale_in_window_s": -60}, "scale_in_window_s"),
        ({"scale_in_window_s": 60}, "scale_in_window_s"),
        ({"scale_in_window_s": 1230}, "scale_in_window_s"),
        ({"scale_in_window_s": 540, "measured_every_s": 300}, "scale_in_window_s"),
        ({"measured_every_s": 90}, "measured_every_s"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(settings, name):
    with pytest.raises(ValueError) as caught:
        Policy(**settings)
    assert str(caught.value).startswith(f"{name}: ")


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="at: needs a time zone"):
        inputs(at=AT.replace(tzinfo=None))
