"""What holds of the scaling decision whatever goes in."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from video_reclaim.scaling.decision import decide
from video_reclaim.scaling.records import Group, Inputs, LastKnown, Override, Point, Scaling

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

# A slow machine is no failure; what is asked for beyond `assume` is rare on purpose.
patient = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

counts = st.one_of(st.integers(0, 5), st.integers(0, 60))
readings = st.one_of(counts, counts, st.none() | counts)
sections = st.builds(
    Scaling,
    mode=st.just("apply"),
    videos_per_worker=st.integers(1, 4),
    spare_workers=st.integers(0, 3),
    peak_window_seconds=st.just(120),
    scale_in_window_seconds=st.integers(2, 6).map(lambda minutes: 60 * minutes),
    override_parameter=st.just("/order"),
    max_step_out=st.none() | st.integers(1, 10),
)
orders = st.builds(
    Override,
    mode=st.sampled_from(["hold", "fixed", "no-scale-in", "no-scale-out"]),
    desired=st.integers(0, 30),
    until=st.integers(-600, 600).map(lambda seconds: AT + timedelta(seconds=seconds)),
)


@st.composite
def groups(draw):
    low = draw(st.integers(0, 6))
    high = draw(st.integers(low, 24))
    size = draw(st.integers(max(0, low - 2), high + 2))
    safety = draw(st.sampled_from(["protected", "hooked", "unprotected"]))
    return Group(low, high, size, draw(st.integers(0, 24)), safety)


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
def inputs(draw):
    processing = draw(readings)
    last = draw(
        st.none()
        | st.builds(LastKnown, counts.map(float), st.none() | counts.map(float), *[counts.map(float)] * 2)
    )
    return Inputs(
        at=AT + timedelta(seconds=draw(st.integers(0, 59))),
        uploaded=draw(readings),
        processing=processing,
        visible=draw(readings),
        window=draw(windows()),
        group=draw(groups()),
        settings=draw(sections),
        measured_every_s=60,
        held_by_draining=draw(st.integers(0, processing or 0)),
        last_known=last,
        override=draw(st.none() | st.none() | orders),
        override_problem=draw(st.sampled_from([None, None, None, "mode: is missing"])),
        shrink_problem=draw(st.sampled_from([None, None, None, "an instance refresh is under way"])),
    )


@st.composite
def shrinkable(draw):
    """Inputs for which the group is mostly too large, and nothing that is unknown or forbidden keeps it so."""
    few = st.integers(0, 8)
    given_inputs, processing = draw(inputs()), draw(few)
    window = draw(st.lists(few, min_size=10, max_size=10))
    low = draw(st.integers(0, 3))
    return replace(
        given_inputs,
        uploaded=draw(few),
        processing=processing,
        visible=draw(few),
        held_by_draining=draw(st.integers(0, processing)),
        window=tuple(Point(AT - timedelta(minutes=ago), float(value)) for ago, value in enumerate(window)),
        group=replace(given_inputs.group, min=low, max=24, desired=draw(st.integers(8, 24))),
        override=None,
        override_problem=None,
        shrink_problem=None,
    )


def ordered(given_inputs):
    """Tell whether an operator's order to a fixed size is in force: it may do what the rules must not."""
    order = given_inputs.override
    return order is not None and order.mode == "fixed" and order.until > given_inputs.at


def covered(given_inputs):
    present = {point.at for point in given_inputs.window}
    minutes = given_inputs.settings.scale_in_window_seconds // 60
    absent = [AT - timedelta(minutes=ago) not in present for ago in range(1, minutes + 1)]
    return not any(one and following for one, following in pairwise(absent))


@patient
@given(inputs())
def test_desired_lies_within_the_live_limits_and_the_action_says_which_way_it_goes(given_inputs):
    decision, group = decide(given_inputs), given_inputs.group
    assert group.min <= decision.desired <= group.max
    now = group.desired if ordered(given_inputs) else group.clamp(group.desired)
    assert decision.action == (
        "hold" if decision.desired == now else "scale-out" if decision.desired > now else "scale-in"
    )
    assert decision.action == "hold" or not decision.held


@patient
@given(inputs())
def test_never_in_on_doubt(given_inputs):
    assume(not ordered(given_inputs))
    known = None not in (given_inputs.uploaded, given_inputs.processing, given_inputs.visible)
    clear = given_inputs.override_problem is given_inputs.shrink_problem is None
    assert decide(given_inputs).action != "scale-in" or (known and clear and covered(given_inputs))


@patient
@given(shrinkable())
def test_never_in_below_what_waits_and_is_at_work_nor_below_the_short_peak(given_inputs):
    decision, settings_ = decide(given_inputs), given_inputs.settings
    assume(decision.action == "scale-in")
    left_out = given_inputs.held_by_draining
    oldest = AT - timedelta(seconds=settings_.peak_window_seconds)
    seen = [point.value for point in given_inputs.window if point.at >= oldest]
    for videos in (given_inputs.uploaded + given_inputs.processing, *seen):
        needed = -(-(videos - left_out) // settings_.videos_per_worker)
        assert decision.desired >= given_inputs.group.clamp(needed)
    assert given_inputs.group.safety != "unprotected" or not given_inputs.uploaded + given_inputs.processing


@patient
@given(inputs(), st.sampled_from(("uploaded", "processing")), st.integers(1, 20))
def test_more_backlog_never_means_fewer_workers(given_inputs, name, more):
    reading = getattr(given_inputs, name)
    assume(reading is not None)
    raised = replace(given_inputs, **{name: reading + more})
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs(), st.integers(0, 9), st.integers(1, 20))
def test_a_busier_minute_in_the_window_never_means_fewer_workers(given_inputs, index, more):
    assume(index < len(given_inputs.window))
    window = list(given_inputs.window)
    window[index] = replace(window[index], value=window[index].value + more)
    raised = replace(given_inputs, window=tuple(window))
    assert decide(raised).desired >= decide(given_inputs).desired


@patient
@given(inputs(), st.integers(0, 24))
def test_without_the_database_instances_that_come_up_ask_for_no_more(given_inputs, in_service):
    """Only what they themselves withheld, as too many at once, follows."""
    assume(not ordered(given_inputs))
    away = replace(given_inputs, uploaded=None, settings=replace(given_inputs.settings, max_step_out=None))
    grown = decide(replace(away, group=replace(away.group, in_service=1_000))).desired
    group = replace(given_inputs.group, desired=grown, in_service=in_service)
    assert decide(away).desired <= grown
    assert decide(replace(away, group=group)).desired == grown
