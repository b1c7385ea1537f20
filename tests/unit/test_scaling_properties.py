"""What holds of the scaling decision whatever goes in."""

import json
from datetime import UTC, datetime, timedelta
from math import ceil

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from video_reclaim.records import from_builtins, to_builtins
from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Decision, Group, Inputs, Override, Point, Policy

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
READINGS = ("uploaded", "processing", "visible", "in_flight")

# A slow machine is no failure; what is asked for beyond `assume` is rare on purpose.
patient = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

counts = st.one_of(st.integers(0, 5), st.integers(0, 60))
readings = st.one_of(counts, counts, st.none() | counts)
policies = st.builds(
    Policy,
    videos_per_worker=st.integers(1, 4),
    scale_in_window_s=st.integers(2, 6).map(lambda minutes: 60 * minutes),
    measured_every_s=st.just(60),
    max_step_out=st.none() | st.integers(1, 10),
)
overrides = st.builds(
    Override,
    mode=st.sampled_from(["hold", "fixed", "no-scale-in", "no-scale-out"]),
    desired=st.integers(0, 30),
    until=st.integers(-600, 600).map(lambda seconds: AT + timedelta(seconds=seconds)),
    reason=st.text(max_size=5),
)


@st.composite
def groups(draw):
    low = draw(st.integers(0, 6))
    high = draw(st.integers(low, 24))
    return Group(
        min=low,
        max=high,
        desired=draw(st.integers(max(0, low - 2), high + 2)),
        in_service=draw(st.integers(0, 24)),
        protected=draw(st.booleans()),
        unprotected=draw(st.integers(0, 3)),
    )


@st.composite
def windows(draw):
    """Mostly without gaps, since a gap decides everything."""
    absent = draw(st.sampled_from([(), (), (), (1,), (2,), (0, 1), (4,)]))
    values = draw(st.lists(counts, min_size=10, max_size=10))
    return tuple(
        Point(AT - timedelta(minutes=ago), float(value))
        for ago, value in enumerate(values)
        if ago not in absent
    )


@st.composite
def any_inputs(draw):
    return Inputs(
        at=AT + timedelta(seconds=draw(st.integers(0, 59))),
        **{name: draw(readings) for name in READINGS},
        window=draw(windows()),
        group=draw(st.none() | groups()) if draw(st.integers(0, 9)) == 0 else draw(groups()),
        override=draw(st.none() | overrides),
        override_problem=None,
        policy=draw(policies),
        override_known=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def nearly_calm_inputs(draw):
    """Inputs that would scale in, but for one flaw at most: there the rules on doubt earn their keep."""
    small = st.integers(0, 4)
    minutes = draw(st.integers(2, 6))
    calm = Inputs(
        at=AT + timedelta(seconds=draw(st.integers(0, 59))),
        **{name: draw(small) for name in READINGS},
        window=tuple(Point(AT - timedelta(minutes=ago), float(draw(small))) for ago in range(minutes + 2)),
        group=Group(min=1, max=20, desired=draw(st.integers(10, 22)), in_service=20, protected=True),
        policy=Policy(draw(st.integers(1, 3)), scale_in_window_s=60 * minutes, measured_every_s=60),
    )
    index = draw(st.integers(0, minutes + 1))
    before, after = calm.window[:index], calm.window[index + 1 :]
    flaws = {
        "none": {},
        "gap": {"window": before + after},
        "peak": {"window": (*before, replace(calm.window[index], value=9.0), *after)},
        "busy": {draw(st.sampled_from(READINGS)): draw(st.integers(0, 12))},
        "unknown": {draw(st.sampled_from(READINGS)): None},
        "override unknown": {"override_known": False},
        "override": {"override": draw(overrides)},
        "unprotected": {"group": replace(calm.group, protected=False)},
        "partly protected": {"group": replace(calm.group, unprotected=draw(st.integers(10, 20)))},
    }
    return replace(calm, **flaws[draw(st.sampled_from(sorted(flaws)))])


def inputs():
    return any_inputs() | nearly_calm_inputs()


def ordered(inputs_):
    """Tell whether an operator's order to a fixed size is in force: it may do what the rules must not."""
    order = inputs_.override
    return inputs_.override_known and order is not None and order.mode == "fixed" and order.until > inputs_.at


def covered(inputs_):
    present = {point.at for point in inputs_.window}
    minutes = inputs_.policy.scale_in_window_s // 60
    return all(AT - timedelta(minutes=ago) in present for ago in range(2, minutes + 1))


@patient
@given(inputs())
def test_desired_is_never_outside_the_live_limits(given_inputs):
    decision = decide(given_inputs)
    group = given_inputs.group
    if group is None:
        assert decision.desired is None
        assert decision.action == "hold"
    else:
        assert group.min <= decision.desired <= group.max
        assert decision.want is None or group.min <= decision.want <= group.max


@patient
@given(inputs())
def test_the_action_says_which_way_desired_goes(given_inputs):
    decision = decide(given_inputs)
    group = given_inputs.group
    assume(group is not None)
    if decision.action == "scale-out":
        assert decision.desired > group.desired
    elif decision.action == "scale-in":
        assert decision.desired < group.desired
    else:
        assert decision.desired == group.clamp(group.desired)


@patient
@given(inputs())
def test_never_in_on_doubt(given_inputs):
    assume(not ordered(given_inputs))
    doubt = (
        given_inputs.group is None
        or not given_inputs.override_known
        or not covered(given_inputs)
        or any(getattr(given_inputs, name) is None for name in READINGS)
    )
    decision = decide(given_inputs)
    assert not (doubt and decision.action == "scale-in")


@patient
@given(inputs())
def test_never_in_below_processing_nor_below_the_windows_highest_want(given_inputs):
    assume(not ordered(given_inputs))
    decision = decide(given_inputs)
    if decision.action == "scale-in":
        policy, group = given_inputs.policy, given_inputs.group
        oldest = AT - timedelta(seconds=policy.scale_in_window_s)
        seen = [point.value for point in given_inputs.window if point.at >= oldest]
        seen.append(given_inputs.uploaded + given_inputs.processing)
        assert decision.desired >= group.clamp(given_inputs.processing)
        assert decision.desired >= group.clamp(ceil(max(seen) / policy.videos_per_worker))
        assert decision.desired >= decision.want


@patient
@given(inputs())
def test_an_unprotected_group_keeps_its_size_while_anything_is_processing(given_inputs):
    assume(not ordered(given_inputs))
    assume(given_inputs.group is not None and not given_inputs.group.protected)
    assert decide(given_inputs).action != "scale-in" or given_inputs.processing == 0


@patient
@given(inputs(), st.sampled_from(READINGS), st.integers(1, 20))
def test_more_backlog_never_means_fewer_workers(given_inputs, name, more):
    reading = getattr(given_inputs, name)
    assume(given_inputs.group is not None and reading is not None)
    raised = replace(given_inputs, **{name: reading + more})
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs(), st.integers(0, 9), st.integers(1, 20))
def test_a_busier_minute_in_the_window_never_means_fewer_workers(given_inputs, index, more):
    assume(given_inputs.group is not None and index < len(given_inputs.window))
    window = list(given_inputs.window)
    window[index] = replace(window[index], value=window[index].value + more)
    raised = replace(given_inputs, window=tuple(window))
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs(), st.sets(st.sampled_from(READINGS), min_size=1))
def test_an_unknown_source_can_raise_but_not_lower(given_inputs, names):
    assume(given_inputs.group is not None and not ordered(given_inputs))
    blind = replace(given_inputs, **dict.fromkeys(names))
    decision = decide(blind)
    assert decision.action != "scale-in"
    before = decide(given_inputs)
    if before.action == "scale-in":
        assert decision.desired >= before.desired
    if decision.action == "scale-out":
        # What is left alone may raise the fleet, and then no further than everything together.
        assert decision.desired <= before.desired


@patient
@given(inputs(), st.integers(0, 9))
def test_a_lost_point_never_lowers(given_inputs, index):
    assume(given_inputs.group is not None and index < len(given_inputs.window))
    thinner = given_inputs.window[:index] + given_inputs.window[index + 1 :]
    before, after = decide(given_inputs), decide(replace(given_inputs, window=thinner))
    hidden = given_inputs.window[index].at > AT - timedelta(
        minutes=2
    )  # the value measured now stands for these
    assert hidden or after.desired >= before.desired


@patient
@given(inputs())
def test_replay_is_exact(given_inputs):
    decision = decide(given_inputs)
    record = json.loads(json.dumps(to_builtins(decision)))
    assert from_builtins(record, Decision) == decision
    assert decide(from_builtins(record["inputs"], Inputs)) == decision


@patient
@given(inputs())
def test_held_means_that_a_change_was_wanted_or_nothing_was_known(given_inputs):
    decision = decide(given_inputs)
    if decision.held:
        assert decision.action == "hold"
        assert (
            decision.want is None or given_inputs.group is None or decision.want != given_inputs.group.desired
        )
