"""The simulator: what it counts, what AWS does in it, what the rivals ask for, and the claims that rest on it."""

from math import inf

import pytest

from dev.simulation import measures, traces
from dev.simulation.__main__ import main
from dev.simulation.bounds import BOOT_MEAN_S, clairvoyant
from dev.simulation.fleet import SURVIVE, FleetSimulation
from dev.simulation.measures import Figures, Run, run_all
from dev.simulation.policies import RECLAIM, Observation, PlatformPolicy, buildkite, reclaim
from dev.simulation.traces import HOUR_S, TRACES, ScheduledRun, Trace, make_trace
from video_reclaim.scaling.records import Group

APPLIED_S = 20.0


class Script:
    """Asks for these capacities, one a run, the last one for ever; keeps what it sees."""

    def __init__(self, *asked, sees=lambda view: None):
        self.asked, self.sees, self.seen = list(asked), sees, []

    def __call__(self, view):
        self.seen.append(self.sees(view))
        return self.asked.pop(0) if len(self.asked) > 1 else self.asked[0]


def trace(arrivals_s=(), jobs_s=(), *, length_s=HOUR_S, changed=None, failures=False, **others):
    """A run at second 30 of each minute, whose point can be read at once; `changed` alters single runs."""
    runs = [
        ScheduledRun(60.0 * n + 30, True, True, True, 60.0 * n + 30, False, APPLIED_S)
        for n in range(int(length_s // 60))
    ]
    for number, changes in (changed or {}).items():
        runs[number] = runs[number]._replace(**changes)
    bursts = (-1,) * len(arrivals_s)
    given = tuple(arrivals_s), tuple(jobs_s), bursts
    return Trace(length_s, *given, runs=tuple(runs), failures=failures, **others)


def simulate(given, policy, safety="unprotected", **options):
    return FleetSimulation(given, policy, safety, 1, **options).run()


# What it counts


def test_a_video_that_finds_no_worker_waits_for_a_boot_and_an_instance_in_service_is_none_yet(monkeypatch):
    monkeypatch.setattr(traces, "BOOT_S", (195.0, 195.0))
    policy = Script(2, sees=lambda view: (view.group.in_service, view.uploaded))
    outcome = simulate(trace([10, 20], [3000, 3000]), policy)
    assert outcome.waits_s.tolist() == [0, 30 + APPLIED_S + 195 - 20]
    assert outcome.work_s == pytest.approx(6000)
    assert outcome.instance_s == pytest.approx(HOUR_S + HOUR_S - (30 + APPLIED_S))
    assert (policy.seen[0], policy.seen[3], policy.seen[-1]) == ((1, 1), (2, 1), (2, 0))


def test_rows_without_a_worker_count_as_processing():
    policy = Script(1, sees=lambda view: view.processing)
    simulate(trace(length_s=300, phantoms_s=((60, 180),)), policy)
    assert policy.seen == [0, 1, 1, 0, 0]


# What becomes of a busy instance at a scale-in


def test_a_busy_protected_instance_is_never_ended():
    outcome = simulate(trace([0, 0, 0], [600, 1200, 1800]), Script(1), "protected", start=4)
    assert outcome.killed == 0
    # The idle one goes at once, two when they are done, the last one stays.
    assert outcome.instance_s == pytest.approx(30 + APPLIED_S + 600 + 1200 + HOUR_S)


def test_a_busy_hooked_instance_drains_takes_nothing_more_and_is_paid_until_it_goes():
    policy = Script(1, sees=lambda view: (view.group.desired, view.group.in_service, view.held_by_draining))
    outcome = simulate(trace([0, 0, 90], [600, 600, 60], length_s=900), policy, "hooked", start=2)
    assert outcome.killed == 0
    assert policy.seen == [(2, 2, 0), *[(1, 1, 1)] * 9, *[(1, 1, 0)] * 5]
    assert outcome.waits_s[2] == 510
    assert outcome.instance_s == pytest.approx(600 + 900)


def test_an_unprotected_busy_instance_is_ended_and_its_video_comes_back():
    policy = Script(4, 4, 1, sees=lambda view: (view.uploaded, view.processing))
    outcome = simulate(trace([0] * 4, [900] * 4, length_s=3 * HOUR_S), policy, start=4)
    assert outcome.killed == 3
    assert outcome.work_s == pytest.approx(4 * 900)  # in the end all four are done
    assert outcome.waits_s.tolist() == [0] * 4, "a wait ends when a video is begun for the first time"
    silent = policy.seen[3:].index((1, 3))
    assert traces.SILENCE_S[0] / 60 - 1 <= silent + 1 <= traces.SILENCE_S[1] / 60 + 1


@pytest.mark.parametrize(("delay_s", "killed"), [(5.0, 0), (40.0, 1)])
def test_a_video_that_arrives_between_measuring_and_ending_can_lose_its_worker(delay_s, killed):
    given = trace([60, 60], [600, 600], changed={0: {"apply_after_s": delay_s}})
    assert simulate(given, Script(1), start=2).killed == killed


# What the world does


def test_only_the_jitter_of_the_schedule_leaves_calendar_minutes_without_a_point(monkeypatch):
    def missing():
        seen = {int(run.at_s // 60) for run in make_trace("diurnal with bursts", 0).runs}
        return sum(minute not in seen for minute in range(7 * 24 * 60))

    assert missing() > 1000
    monkeypatch.setattr(traces, "START_JITTER_S", 0.0)
    assert missing() <= 1  # of the last one the trace may see nothing


def test_a_point_that_comes_late_is_absent_until_then():
    policy = Script(1, sees=lambda view: (1 in view.points, 2 in view.points))
    changed = {1: {"readable_s": 60 + 91.0}, 2: {"readable_s": inf}}
    simulate(trace(length_s=300, changed=changed), policy)
    assert policy.seen == [(False, False)] * 3 + [(True, False)] * 2


def test_a_source_that_is_out_is_unknown_and_the_depth_is_published_without_the_database():
    away = {1: {"database": False}, 2: {"queue": False}, 3: {"cloudwatch": False}}
    policy = Script(1, sees=lambda view: (view.uploaded is None, view.visible is None, view.readable))
    simulate(trace(length_s=300, changed=away), policy)
    nothing = (False, False, True)
    assert policy.seen == [nothing, (True, False, True), (False, True, True), (False, False, False), nothing]
    blind = Script(1, sees=lambda view: (len(view.back(view.points, 9)), len(view.back(view.depths, 9))))
    simulate(trace(length_s=240, changed=away), blind)
    assert blind.seen[2:] == [(1, 2), (0, 0)]


def test_a_count_of_the_queue_may_be_that_of_the_run_before():
    policy = Script(1, sees=lambda view: view.visible)
    simulate(trace([0, 70, 70], [9000] * 3, length_s=240, changed={1: {"queue_lags": True}}), policy)
    assert policy.seen == [0, 0, 2, 2]


def test_a_spot_instance_that_is_taken_is_replaced_and_its_video_comes_back(monkeypatch):
    monkeypatch.setattr(traces, "SPOT_MEAN_S", 900.0)
    policy = Script(2, sees=lambda view: (view.group.desired, view.processing))
    outcome = simulate(trace([0, 0], [3000, 3000], failures=True), policy, start=2)
    assert {desired for desired, _ in policy.seen} == {2}, "the group replaces it"
    assert {processing for _, processing in policy.seen} >= {1, 2}
    assert outcome.work_s < 6000  # what was lost is not counted as done


def test_the_clairvoyant_bound_stops_between_videos_where_a_boot_costs_less():
    near = trace([0, 0, 1000, 1000], [900, 900, 900, 900])
    far = trace([0, 0, 2000, 2000], [900, 900, 900, 900])
    assert clairvoyant(near).instance_s == pytest.approx(HOUR_S + BOOT_MEAN_S + 1900)
    assert clairvoyant(far).instance_s == pytest.approx(HOUR_S + 2 * (BOOT_MEAN_S + 900))
    assert clairvoyant(far).work_s == 4 * 900
    none = trace([0, 0], [600, 600], low=0)
    assert clairvoyant(none).instance_s == pytest.approx(2 * (BOOT_MEAN_S + 600))


def test_a_trace_depends_on_its_seed_alone():
    for name in TRACES:
        one = make_trace(name, 3)
        assert one == make_trace(name, 3)
        assert one.arrivals_s != make_trace(name, 4).arrivals_s
        assert list(one.arrivals_s) == sorted(one.arrivals_s)


def test_the_day_of_the_outage_is_the_same_without_it():
    without, outage = (make_trace(name, 0) for name in traces.OUTAGES)
    assert without._replace(runs=outage.runs) == outage
    assert [sum(not run.database for run in one.runs) for one in (without, outage)] == [0, 45]


# The contenders


def view(**changes):
    """A view of a group of six, between one and twenty."""
    return Observation(Group(1, 20, 6, 6, "unprotected"), {}, {}, {}, **changes)


def test_the_platform_takes_an_unreadable_queue_for_an_empty_one_and_stops_at_its_step():
    policy = PlatformPolicy()
    asked = [policy(view(at_s=60.0 * tick, visible=1 if tick == 15 else None)) for tick in range(37)]
    assert asked == [6] * 15 + [1] + [6] * 20 + [1]
    assert PlatformPolicy()(view(visible=40)) == PlatformPolicy.STEP


def test_buildkite_follows_the_backlog_and_holds_on_doubt():
    for uploaded, processing, asked in ((3, 5, 8), (0, 2, 2), (99, 2, 20), (None, None, 6)):
        assert buildkite(view(uploaded=uploaded, processing=processing)) == asked


# The claims


@pytest.mark.parametrize("name", TRACES)
def test_no_busy_worker_is_ended_whatever_happens(name):
    for safety in SURVIVE:
        outcome = FleetSimulation(make_trace(name, 0, 1), reclaim, safety, 0).run()
        assert outcome.killed == 0
        assert outcome.work_s > 0


def test_figures_of_a_run_do_not_depend_on_what_else_is_run():
    runs = [Run("endless trickle", RECLAIM, "hooked"), Run("outage", RECLAIM, "hooked")]
    together = run_all(runs, seeds=2, at_most_days=1)
    assert list(together) == runs
    assert together[runs[0]].cost[0] > 1
    assert run_all(runs[1:], seeds=2, at_most_days=1) == {runs[1]: together[runs[1]]}


def test_the_command_prints_every_table(capsys, monkeypatch):
    figures = Figures(wait=(1.0, 0.1), drain=(2.0, 3.0), cost=(1.1, 0.1), killed=0.0, instance_h=5.0)
    monkeypatch.setattr(measures, "run_all", lambda runs, **_: dict.fromkeys(runs, figures))
    main(["--quick"])
    text = capsys.readouterr().out
    assert text.count("\n### ") == 4 and "1.10" in text
