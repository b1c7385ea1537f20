"""What holds of the scaling decision whatever goes in."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
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
    spare_workers=st.integers(0, 3),
    peak_window_s=st.just(120),
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
        safety=draw(st.sampled_from(["protected", "hooked", "unprotected"])),
        draining=draw(st.sampled_from([0, 0, 2])),
    )


@st.composite
def windows(draw):
    """Mostly without gaps, since a gap decides everything."""
    absent = draw(st.sampled_from([(), (), (), (1,), (2,), (0, 1), (1, 2), (3, 4), (1, 3)]))
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
        override_problem=draw(st.sampled_from([None, None, None, "mode: is missing"])),
        policy=draw(policies),
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
        group=Group(min=1, max=20, desired=draw(st.integers(10, 22)), in_service=20, safety="hooked"),
        policy=Policy(draw(st.integers(1, 3)), draw(st.integers(0, 2)), 120, 60 * minutes, 60),
    )
    index = draw(st.integers(0, minutes + 1))
    before, after = calm.window[:index], calm.window[index + 1 :]
    flaws = {
        "none": {},
        "gap": {"window": before + after},
        "peak": {"window": (*before, replace(calm.window[index], value=9.0), *after)},
        "busy": {draw(st.sampled_from(READINGS)): draw(st.integers(0, 12))},
        "unknown": {draw(st.sampled_from(READINGS)): None},
        "override unclear": {"override_problem": "mode: is missing"},
        "override": {"override": draw(overrides)},
        "hole": {"window": calm.window[:index] + calm.window[index + 2 :]},
        "unprotected": {"group": replace(calm.group, safety="unprotected")},
        "draining": {"group": replace(calm.group, draining=draw(st.integers(1, 8)))},
    }
    return replace(calm, **flaws[draw(st.sampled_from(sorted(flaws)))])


def inputs():
    return any_inputs() | nearly_calm_inputs()


def ordered(inputs_):
    """Tell whether an operator's order to a fixed size is in force: it may do what the rules must not."""
    order = inputs_.override
    return order is not None and order.mode == "fixed" and order.until > inputs_.at


def covered(inputs_):
    present = {point.at for point in inputs_.window}
    absent = [AT - timedelta(minutes=ago) not in present for ago in range(1, _minutes(inputs_) + 1)]
    return not any(one and following for one, following in pairwise(absent))


def _minutes(inputs_):
    return inputs_.policy.scale_in_window_s // 60


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


@patient
@given(inputs())
def test_the_action_says_which_way_desired_goes(given_inputs):
    decision = decide(given_inputs)
    group = given_inputs.group
    assume(group is not None)
    now = group.desired if ordered(given_inputs) else group.clamp(group.desired)
    if decision.action == "scale-out":
        assert decision.desired > now
    elif decision.action == "scale-in":
        assert decision.desired < now
    else:
        assert decision.desired == now


@patient
@given(inputs())
def test_never_in_on_doubt(given_inputs):
    assume(not ordered(given_inputs))
    doubt = (
        given_inputs.group is None
        or given_inputs.override_problem is not None
        or not covered(given_inputs)
        or given_inputs.uploaded is None
        or given_inputs.processing is None
    )
    decision = decide(given_inputs)
    assert not (doubt and decision.action == "scale-in")


@patient
@given(inputs())
def test_never_in_below_the_short_peak_nor_below_both_with_the_spare(given_inputs):
    assume(not ordered(given_inputs))
    decision = decide(given_inputs)
    if decision.action == "scale-in":
        policy, group = given_inputs.policy, given_inputs.group
        now = given_inputs.uploaded + given_inputs.processing

        def workers(window_s):
            oldest = AT - timedelta(seconds=window_s)
            seen = [point.value for point in given_inputs.window if point.at >= oldest]
            return ceil(max([*seen, now]) / policy.videos_per_worker)

        short, long = workers(policy.peak_window_s), workers(policy.scale_in_window_s)
        waiting = ceil(given_inputs.uploaded / policy.videos_per_worker)
        needed = min(short + policy.spare_workers, long) - group.draining
        assert decision.desired == group.clamp(max(needed, waiting))
        assert decision.desired >= group.clamp(short - group.draining)


@patient
@given(inputs())
def test_an_unprotected_group_keeps_its_size_while_anything_waits_or_is_at_work(given_inputs):
    assume(not ordered(given_inputs))
    assume(given_inputs.group is not None and given_inputs.group.safety == "unprotected")
    idle = (given_inputs.uploaded, given_inputs.processing, given_inputs.visible) == (0, 0, 0)
    assert decide(given_inputs).action != "scale-in" or idle


@patient
@given(inputs(), st.integers(1, 20))
def test_a_row_in_processing_never_starts_a_worker(given_inputs, more):
    group = given_inputs.group
    assume(group is not None and given_inputs.processing is not None and not ordered(given_inputs))
    raised = replace(given_inputs, uploaded=0, processing=given_inputs.processing + more)
    assert decide(raised).desired <= group.clamp(max(group.desired, group.in_service))


@patient
@given(inputs(), st.sampled_from(("uploaded", "processing")), st.integers(1, 20))
def test_more_backlog_never_means_fewer_workers(given_inputs, name, more):
    reading = getattr(given_inputs, name)
    assume(given_inputs.group is not None and reading is not None)
    raised = replace(given_inputs, **{name: reading + more})
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs(), st.integers(1, 20))
def test_messages_change_nothing_while_the_database_is_known(given_inputs, more):
    assume(None not in (given_inputs.uploaded, given_inputs.processing, given_inputs.visible))
    assume(given_inputs.group is not None and given_inputs.group.safety != "unprotected")
    raised = replace(given_inputs, visible=given_inputs.visible + more)
    assert decide(raised).desired == decide(given_inputs).desired


@patient
@given(inputs(), st.integers(0, 9), st.integers(1, 20))
def test_a_busier_minute_in_the_window_never_means_fewer_workers(given_inputs, index, more):
    assume(given_inputs.group is not None and index < len(given_inputs.window))
    window = list(given_inputs.window)
    window[index] = replace(window[index], value=window[index].value + more)
    raised = replace(given_inputs, window=tuple(window))
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs())
def test_replay_is_exact(given_inputs):
    decision = decide(given_inputs)
    record = json.loads(json.dumps(to_builtins(decision)))
    assert from_builtins(record, Decision) == decision
    assert decide(from_builtins(record["inputs"], Inputs)) == decision


@patient
@given(inputs())
def test_held_means_that_nothing_is_changed(given_inputs):
    decision = decide(given_inputs)
    assert decision.action == "hold" or not decision.held
