"""The simulator: its queue, its group under AWS's conditions, its bounds and the contenders."""

import statistics
from math import inf

import numpy as np
import pytest

from dev.simulation import fleet, queueing, traces
from dev.simulation.bounds import BOOT_MEAN_S, bounds
from dev.simulation.fleet import FleetSimulation
from dev.simulation.group import BOOT_S, SAFETIES
from dev.simulation.measures import bootstrap
from dev.simulation.policies import (
    IDLE_AGENTS,
    MAKERS,
    MAXIMUM,
    RECLAIM,
    Buildkite,
    Constant,
    Hpa,
    Platform,
    TargetTracking,
    View,
    point_of,
)
from dev.simulation.traces import OUTAGE_S, SOURCES, TRACES, ScheduledRun, Trace, make_trace

HOUR_S = 3600.0
APPLIED_S = 35.0
"""A run measures 30 s into each minute, and its decision takes 5 s to arrive."""


class Script:
    """Asks for what it is told to: capacities by run, the last one for ever. Keeps what it sees."""

    holds_messages = False
    idle_timeout_s = None

    def __init__(self, *capacities, sees=lambda view: None):
        self.capacities = list(capacities)
        self.sees = sees
        self.seen = []

    def ask(self, view):
        self.seen.append(self.sees(view))
        return self.capacities.pop(0) if len(self.capacities) > 1 else self.capacities[0]


def scheduled(minute, **changes):
    at_s = minute * 60 + 30.0
    given = {"readable_s": at_s + 10, "queue_lags": False, "apply_after_s": 5.0}
    return ScheduledRun(at_s, **(dict.fromkeys(SOURCES, True) | given | changes))


def trace(arrivals_s=(), jobs_s=(), *, length_s=HOUR_S, burst=False, changed=None, **others):
    """A trace without chance; ``changed`` gives what is special about the run of a minute."""
    changed = changed or {}
    return Trace(
        name="test",
        length_s=length_s,
        arrivals_s=tuple(arrivals_s),
        jobs_s=tuple(jobs_s),
        burst_of=(0 if burst else -1,) * len(arrivals_s),
        runs=tuple(scheduled(minute, **changed.get(minute, {})) for minute in range(int(length_s // 60))),
        **others,
    )


def simulate(given, policy, safety="unprotected", **changes):
    return FleetSimulation(given, policy, safety, 1, **({"failures": False} | changes)).run()


def values(view):
    """What can be read back, the newest minute last."""
    return [None if point is None else point.value for point in view.points[: view.minute + 1]]


# The queue against the closed form


@pytest.mark.parametrize(
    ("workers", "offered", "expected"),
    [
        pytest.param(1, 0.5, 0.5, id="one-worker-waits-with-the-load"),
        pytest.param(2, 1.0, 1 / 3, id="two-workers"),
        pytest.param(3, 0.0, 0.0, id="no-load"),
        pytest.param(100, 80.0, 0.0197, id="large-fleet"),
    ],
)
def test_erlang_c(workers, offered, expected):
    assert queueing.erlang_c(workers, offered) == pytest.approx(expected, rel=0.01)


def test_the_mean_wait_of_one_worker_is_that_of_a_single_queue():
    assert queueing.mean_wait_s(1, 0.75, 10.0) == pytest.approx(0.75 / 0.25 * 10.0)


@pytest.mark.parametrize("offered", [2.0, 2.5, -0.1])
def test_an_offered_load_without_an_equilibrium_is_refused(offered):
    with pytest.raises(ValueError, match="offered"):
        queueing.erlang_c(2, offered)


def test_the_queue_agrees_with_the_closed_form():
    checks = queueing.check(seeds=8)
    assert [check.name for check in checks] == ["probability of waiting", "mean wait, s"]
    for check in checks:
        assert check.agrees
        assert check.simulated.high - check.simulated.low < check.expected  # agreeing must mean something


def test_a_check_disagrees_outside_its_interval():
    interval = bootstrap([1.0, 1.1, 0.9])
    assert not queueing.Check("x", 1.2, interval).agrees
    assert queueing.Check("x", 1.0, interval).agrees


# Videos and workers


def test_videos_wait_in_order_for_the_one_worker():
    outcome = simulate(trace([10, 20, 30], [100, 100, 100], burst=True), Script(1))
    assert outcome.waits_s.tolist() == [0, 90, 180]
    assert outcome.drains_s.tolist() == [200]
    assert outcome.work_s == 300
    assert outcome.instance_s == HOUR_S


def test_what_is_still_waiting_at_the_end_counts_as_waiting_until_then():
    outcome = simulate(trace([0, 600], [7200, 60], burst=True), Script(1))
    assert outcome.waits_s.tolist() == [0, HOUR_S - 600]
    assert outcome.drains_s.tolist() == [HOUR_S]
    assert outcome.work_s == HOUR_S


def test_new_workers_boot_before_they_work_and_are_paid_for_it():
    outcome = simulate(trace([0, 1], [1800, 600]), Script(2))
    assert BOOT_S[0] <= outcome.waits_s[1] + 1 - APPLIED_S <= BOOT_S[1]
    assert outcome.instance_s == pytest.approx(2 * HOUR_S - APPLIED_S)


def test_a_deletion_keeps_a_worker_for_seconds_and_is_in_the_queues_count():
    policy = Script(1, sees=lambda view: (view.visible, view.uploaded))
    outcome = simulate(trace([28], [60], length_s=180, deletions_s=(25, 26, 27)), policy)
    assert outcome.waits_s.tolist() == [3 * fleet.DELETION_S - 3]
    assert policy.seen == [(3, 1), (0, 0), (0, 0)]
    assert outcome.work_s == 60


def test_rows_without_a_worker_count_as_processing():
    policy = Script(1, sees=lambda view: view.processing)
    simulate(trace(length_s=300, phantoms_s=((60, 180),)), policy)
    assert policy.seen == [0, 1, 1, 0, 0]


# What becomes of a busy instance at a scale-in


def test_a_busy_protected_instance_is_never_ended():
    outcome = simulate(trace([0, 0, 0], [600, 1200, 1800]), Script(1), "protected", start=4)
    assert (outcome.killed, outcome.lost_s) == (0, 0)
    # The idle one goes at once, two when they are done, the last one stays.
    assert outcome.instance_s == pytest.approx(APPLIED_S + 600 + 1200 + HOUR_S)


def test_a_busy_hooked_instance_drains_and_is_paid_until_it_goes():
    policy = Script(1, sees=lambda view: (view.desired, view.in_service, view.draining))
    outcome = simulate(trace([0, 0], [600, 600], length_s=900), policy, "hooked", start=2)
    assert (outcome.killed, outcome.lost_s) == (0, 0)
    assert policy.seen[0] == (2, 2, 0)
    assert policy.seen[1:10] == [(1, 1, 1)] * 9
    assert policy.seen[10:] == [(1, 1, 0)] * 5
    assert outcome.instance_s == pytest.approx(600 + 900)


def test_a_hooked_instance_takes_no_message_once_it_is_chosen():
    outcome = simulate(trace([0, 0, 60], [600, 900, 60], length_s=1800), Script(1), "hooked", start=2)
    stayed_s = {600 - 60, 900 - 60}
    assert outcome.waits_s[2] in stayed_s
    # Whichever was chosen goes after its encode, although the third video waits.
    assert outcome.instance_s == pytest.approx(1800 + (600 if outcome.waits_s[2] == 900 - 60 else 900))


def test_an_unprotected_busy_instance_is_ended_and_its_video_comes_back():
    outcome = simulate(trace([0] * 4, [900] * 4, length_s=3 * HOUR_S), Script(4, 4, 1), start=4)
    assert outcome.killed == 3
    assert outcome.lost_s == pytest.approx(3 * (120 + APPLIED_S))
    assert outcome.work_s == pytest.approx(4 * 900)  # in the end all four are done


def test_the_video_of_a_lost_worker_waits_until_its_silence_is_confirmed():
    policy = Script(2, 1, sees=lambda view: (view.uploaded, view.processing))
    simulate(trace([0, 0], [3000, 3000]), policy, start=2)
    ended = 2  # the run after the decision of the second
    silent = [row for row in policy.seen[ended:] if row == (0, 2)]
    assert fleet.SILENCE_S[0] / 60 - 1 <= len(silent) <= fleet.SILENCE_S[1] / 60 + 1
    assert policy.seen[ended + len(silent)] == (1, 1)


def test_the_group_ends_from_its_fullest_zone():
    group = FleetSimulation(trace(), Script(4), "unprotected", 1, start=4, failures=False).group
    assert sorted(worker.zone for worker in group.members) == [0, 0, 1, 2]
    group.apply(3)
    assert sorted(worker.zone for worker in group.members) == [0, 1, 2]


@pytest.mark.parametrize(("delay_s", "killed"), [(5.0, 0), (40.0, 1)])
def test_a_video_that_arrives_between_measuring_and_ending_can_lose_its_worker(delay_s, killed):
    given = trace([60, 60], [600, 600], changed={0: {"apply_after_s": delay_s}})
    assert simulate(given, Script(1), start=2).killed == killed


def test_changes_of_direction_are_counted_not_steps():
    assert simulate(trace(), Script(2, 3, 4, 3, 2, 5, 5)).turns == 2


# What AWS does to a schedule and to a group


def minutes_without_a_run():
    seen = {int(run.at_s // 60) for run in make_trace("diurnal with bursts", 0).runs}
    return sum(minute not in seen for minute in range(7 * 24 * 60))


def test_only_the_jitter_of_the_schedule_leaves_calendar_minutes_without_a_point(monkeypatch):
    assert minutes_without_a_run() > 1000
    monkeypatch.setattr(traces, "START_JITTER_S", 0.0)
    assert minutes_without_a_run() <= 1  # of the last one the trace may see nothing


def test_puts_are_lost_outside_of_outages(monkeypatch):
    def lost():
        runs = make_trace("quiet week", 0).runs
        return sum(run.readable_s == inf for run in runs if run.cloudwatch and run.database)

    assert lost() > 0
    monkeypatch.setattr(traces, "LOST", 0.0)
    assert lost() == 0


def test_a_lost_put_leaves_its_minute_without_a_point():
    policy = Script(1, sees=lambda view: values(view)[-3:-1])
    simulate(trace([0], [9000], length_s=360, changed={2: {"readable_s": inf}}), policy)
    assert policy.seen[2:] == [[1.0, 1.0], [1.0, None], [None, 1.0], [1.0, 1.0]]


def test_a_point_that_comes_late_is_absent_until_then():
    policy = Script(1, sees=lambda view: values(view)[-2])
    late_s = 60 + 30 + 61.0
    simulate(trace([0], [9000], length_s=240, changed={1: {"readable_s": late_s}}), policy)
    assert policy.seen == [None, 1.0, None, 1.0]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_out_is_unknown_and_comes_back(source):
    policy = Script(
        1,
        sees=lambda view: {
            "database": view.uploaded is None and view.processing is None,
            "queue": view.visible is None and view.in_flight is None,
            "cloudwatch": not view.readable,
        }[source],
    )
    simulate(trace(length_s=300, changed={1: {source: False}, 2: {source: False}}), policy)
    assert policy.seen == [False, True, True, False, False]


def test_a_count_of_the_queue_may_be_that_of_the_run_before():
    policy = Script(1, sees=lambda view: view.visible)
    simulate(trace([0, 70, 70], [9000] * 3, length_s=240, changed={1: {"queue_lags": True}}), policy)
    assert policy.seen == [0, 0, 2, 2]


def test_spot_takes_busy_instances_away_and_the_group_replaces_them(monkeypatch):
    monkeypatch.setattr("dev.simulation.group.SPOT_MEAN_S", 1000.0)
    outcome = simulate(trace([0, 0], [900, 900]), Script(3), failures=True, start=3, record=True)
    assert outcome.broken > 0
    assert outcome.lost_s > 0
    assert {instances for _, _, _, instances in outcome.series} == {3}


def test_a_worker_process_that_dies_starts_again_without_a_boot(monkeypatch):
    monkeypatch.setattr("dev.simulation.group.SPOT_MEAN_S", 1e12)
    monkeypatch.setattr(fleet, "DEATH_MEAN_S", 600.0)
    outcome = simulate(trace([0] * 4, [600] * 4, length_s=4 * HOUR_S), Script(1), failures=True)
    assert outcome.broken > 0
    assert outcome.work_s == pytest.approx(4 * 600)  # what was lost is not counted as done
    assert outcome.instance_s == 4 * HOUR_S


def uneven_zones(safety, policy):
    """A busy group grew while its first zone had no instances to give."""
    given = trace([0] * 9, [3000] * 9, shortages_s=((0, 600),))
    return simulate(given, policy, safety, failures=True)


def test_rebalancing_ends_busy_instances_only_where_it_is_not_suspended(monkeypatch):
    monkeypatch.setattr("dev.simulation.group.SPOT_MEAN_S", 1e12)
    monkeypatch.setattr(fleet, "DEATH_MEAN_S", 1e12)
    assert uneven_zones("unprotected", Script(9)).rebalanced > 0
    assert uneven_zones("protected", Script(9)).rebalanced == 0
    suspended = Script(9)
    suspended.idle_timeout_s = 600.0
    assert uneven_zones("unprotected", suspended).rebalanced == 0


def test_rebalancing_lets_a_hooked_instance_finish(monkeypatch):
    monkeypatch.setattr("dev.simulation.group.SPOT_MEAN_S", 1e12)
    monkeypatch.setattr(fleet, "DEATH_MEAN_S", 1e12)
    outcome = uneven_zones("hooked", Script(9))
    assert (outcome.rebalanced, outcome.lost_s) == (0, 0)
    assert outcome.instance_s > uneven_zones("protected", Script(9)).instance_s  # launched before ended


# The bounds


def test_the_clairvoyant_bound_stops_between_videos_where_a_boot_costs_less():
    near = trace([0, 0, 1000, 1000], [900, 900, 900, 900])
    far = trace([0, 0, 2000, 2000], [900, 900, 900, 900])
    assert bounds(near).clairvoyant_s == pytest.approx(HOUR_S + BOOT_MEAN_S + 1900)
    assert bounds(far).clairvoyant_s == pytest.approx(HOUR_S + 2 * (BOOT_MEAN_S + 900))
    assert bounds(far).work_s == 4 * 900


def test_the_clairvoyant_bound_waits_as_the_maximum_does():
    one = bounds(trace([0, 0], [600, 600]), low=1, high=1)
    assert one.clairvoyant_s == HOUR_S


def test_the_blind_bound_runs_on_while_anything_is_processing():
    given = trace([0, 0], [600, 1800], phantoms_s=((1700, 2400),))
    assert bounds(given).clairvoyant_s == pytest.approx(HOUR_S + BOOT_MEAN_S + 600)
    assert bounds(given).blind_s == pytest.approx(HOUR_S + BOOT_MEAN_S + 2400)


# The traces


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_depends_on_its_seed_and_has_one_outage_of_each_source_a_day(name):
    one = make_trace(name, 3)
    assert one == make_trace(name, 3)
    assert one != make_trace(name, 4)
    assert list(one.arrivals_s) == sorted(one.arrivals_s)
    assert len(one.arrivals_s) == len(one.jobs_s) == len(one.burst_of)
    for day in range(TRACES[name][0]):
        for source in SOURCES:
            of_day = [end - at for out, at, end in one.outages_s if out == source and at // 86_400 == day]
            assert of_day == [pytest.approx(OUTAGE_S)]


def test_runs_measure_and_apply_within_the_documented_times():
    runs = make_trace("endless trickle", 0).runs
    low_s, high_s = traces.APPLY_AFTER_S
    assert all(low_s <= run.apply_after_s <= high_s for run in runs)
    assert 0.4 < np.mean([run.queue_lags for run in runs]) < 0.6


def test_encodes_take_minutes_to_hours():
    jobs_s = sorted(job_s for seed in range(5) for job_s in make_trace("diurnal with bursts", seed).jobs_s)
    assert statistics.median(jobs_s) == pytest.approx(1800, rel=0.1)
    assert statistics.fmean(jobs_s) == pytest.approx(2700, rel=0.1)
    assert jobs_s[-1] > 4 * HOUR_S


def test_only_the_phantom_trace_has_phantoms():
    assert [name for name in TRACES if make_trace(name, 0).phantoms_s] == ["phantom rows"]


# The contenders


def view(*points, **changes):
    """A view whose newest points are these, oldest first; None: no point."""
    made = [None if value is None else point_of(minute, value) for minute, value in enumerate(points, 64)]
    given = {"desired": 6, "in_service": 6, "points": [None] * 64 + made, "minute": 63 + len(made)}
    return View(**(given | changes))


def test_the_platform_takes_an_unreadable_queue_for_an_empty_one():
    policy = Platform(holds_messages=True)
    assert [policy.ask(view(at_s=60.0 * tick)) for tick in range(21)] == [6] * 20 + [1]


def test_the_platforms_wait_begins_anew_with_each_message():
    policy = Platform(holds_messages=False)
    asked = [policy.ask(view(at_s=60.0 * tick, visible=int(tick == 15))) for tick in range(37)]
    assert asked == [6] * 15 + [1] + [6] * 20 + [1]


def test_the_platform_as_deployed_never_asks_for_more_than_its_step():
    assert Platform(holds_messages=False).ask(view(visible=40, in_flight=0)) == Platform.STEP


def test_hpa_follows_the_highest_recommendation_of_five_minutes():
    policy = Hpa()
    assert policy.ask(view(9.0, at_s=0.0)) == 9
    assert policy.ask(view(2.0, at_s=0.0, desired=9)) == 9
    assert policy.ask(view(2.0, at_s=301.0, desired=9)) == 2


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        pytest.param(view(readable=False), 6, id="error-holds"),
        pytest.param(view(), 1, id="empty-reads-as-nothing"),
        pytest.param(view(9.0, *[None] * 6), 1, id="too-old-reads-as-nothing"),
        pytest.param(view(6.5), 6, id="within-the-tolerance"),
        pytest.param(view(40.0), 20, id="maximum"),
    ],
)
def test_hpa_reads_what_keda_gives_it(given, asked):
    assert Hpa().ask(given) == asked


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        pytest.param({"uploaded": 3, "processing": 5}, 8, id="out"),
        pytest.param({"uploaded": 0, "processing": 2}, 2, id="in-at-once"),
        pytest.param({"uploaded": 99, "processing": 2}, 20, id="maximum"),
        pytest.param({"uploaded": None, "processing": None}, 6, id="unknown-holds"),
    ],
)
def test_buildkite_follows_the_backlog_both_ways(changes, asked):
    assert Buildkite(out_only=False).ask(view(**changes)) == asked


def test_buildkites_idle_agents_end_themselves_and_take_desired_down():
    assert Buildkite(out_only=True).ask(view(uploaded=0, processing=2)) == 6
    given = trace([0, 0], [60, 3000], length_s=HOUR_S)
    outcome = simulate(given, Buildkite(out_only=True), start=2, record=True)
    assert outcome.instance_s == pytest.approx(HOUR_S + 60 + Buildkite.IDLE_S)
    assert outcome.killed == 0
    assert outcome.series[-1][2] == 1


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        pytest.param([9.0] * 2, 6, id="two-high-minutes-are-too-few"),
        pytest.param([9.0] * 3, 9, id="out-after-three"),
        pytest.param([3.0] * 14, 6, id="fourteen-low-minutes-are-too-few"),
        pytest.param([3.0] * 15, 3, id="in-after-fifteen"),
        pytest.param([3.0] * 14 + [None], 6, id="a-missing-minute-changes-nothing"),
    ],
)
def test_target_tracking_counts_minutes(values, asked):
    policy = TargetTracking()
    assert [policy.ask(view(value)) for value in values][-1] == asked


def test_target_tracking_does_not_take_a_little_less_for_low():
    policy = TargetTracking()
    assert [policy.ask(view(18.5, desired=20, in_service=20)) for _ in range(15)] == [20] * 15
    assert [policy.ask(view(17.5, desired=20, in_service=20)) for _ in range(15)][-1] == 18


@pytest.mark.parametrize("name", MAKERS)
def test_a_policy_stays_within_the_limits_and_repeats_for_the_same_seed(name):
    given = make_trace("endless trickle", 2, at_most_days=1)
    first, second = (
        FleetSimulation(given, MAKERS[name](), "unprotected", 2, high=8, record=True).run() for _ in range(2)
    )
    assert first.series == second.series
    assert first.waits_s.tolist() == second.waits_s.tolist()
    assert {desired for _, _, desired, _ in first.series} <= set(range(1, 9))


# The claims


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("safety", SAFETIES[:2])
def test_no_busy_worker_is_ended_outages_included(name, safety):
    outcome = FleetSimulation(make_trace(name, 0, 2), MAKERS[RECLAIM](), safety, 0).run()
    assert (outcome.killed, outcome.rebalanced) == (0, 0)
    assert outcome.work_s > 0


def test_the_other_contenders_end_busy_workers_of_an_unprotected_group():
    given = make_trace("endless trickle", 0)
    for name in MAKERS.keys() - {RECLAIM, IDLE_AGENTS, MAXIMUM}:
        assert FleetSimulation(given, MAKERS[name](), "unprotected", 0).run().killed > 0


def test_a_trickle_that_never_ceases_costs_little_more_than_the_bound():
    given = make_trace("endless trickle", 0)
    limit = bounds(given)
    for safety in SAFETIES[:2]:
        outcome = FleetSimulation(given, MAKERS[RECLAIM](), safety, 0).run()
        assert outcome.instance_s / outcome.work_s < 1.2 * limit.clairvoyant_s / limit.work_s


def test_the_maximum_is_constant():
    assert Constant().ask(view(high=7)) == 7
