"""The simulator: its queue, its group, the contenders, and what it prints."""

import io
import json
import statistics
from datetime import timedelta

import pytest

from dev.simulation import queueing, replay, report
from dev.simulation.__main__ import main
from dev.simulation.measures import bootstrap, measure
from dev.simulation.policies import (
    CONTENDERS,
    EPOCH,
    Buildkite,
    Constant,
    Hpa,
    Platform,
    TargetTracking,
    View,
    make_policy,
)
from dev.simulation.runs import PROTECTED, UNPROTECTED
from dev.simulation.traces import OUTAGE_S, SOURCES, TRACES, Trace, make_trace
from dev.simulation.world import TICK_S, Outcome, World
from video_reclaim.scaling import Group, Inputs, Point, Reading, decide

HOUR_S = 3600.0


class Script:
    """Asks for what it is told to: capacities by tick, the last one for ever."""

    holds_messages = False
    looks_back_s = 300

    def __init__(self, *capacities, protects=False):
        self.capacities = list(capacities)
        self.protects = protects

    def ask(self, view):
        return self.capacities.pop(0) if len(self.capacities) > 1 else self.capacities[0]


def trace(arrivals_s, jobs_s, *, length_s=HOUR_S, burst=False, **changes):
    return Trace(
        name="test",
        length_s=length_s,
        arrivals_s=tuple(arrivals_s),
        jobs_s=tuple(jobs_s),
        burst_of=(0 if burst else -1,) * len(arrivals_s),
        **changes,
    )


def run(given, policy, **changes):
    return World(given, policy, 1, **changes).run()


# The queue


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


# The world


def test_videos_wait_in_order_for_the_one_worker():
    outcome = run(trace([10, 20, 30], [100, 100, 100], burst=True), Constant(1))
    assert outcome.waits_s == [0, 90, 180]
    assert outcome.drains_s == [200]
    assert outcome.work_s == 300
    assert outcome.instance_s == HOUR_S


def test_what_is_still_waiting_at_the_end_counts_as_waiting_until_then():
    outcome = run(trace([0, 600], [7200, 60], burst=True), Constant(1))
    assert outcome.waits_s == [0, HOUR_S - 600]
    assert outcome.drains_s == [HOUR_S]
    assert outcome.work_s == HOUR_S


def test_new_workers_boot_before_they_work_and_are_paid_for_it():
    outcome = run(trace([0, 1], [1800, 600]), Script(2))
    applied_s = 9.0
    assert 150 <= outcome.waits_s[1] + 1 - applied_s <= 240
    assert outcome.instance_s == pytest.approx(2 * HOUR_S - applied_s)


def test_an_unprotected_group_ends_busy_workers_blindly_and_the_video_starts_anew():
    outcome = run(trace([0, 0, 0, 0], [900] * 4, length_s=3 * HOUR_S), Script(4, 4, 1), start=4)
    assert outcome.killed == 3
    assert outcome.lost_s == pytest.approx(3 * (129 - 0))
    assert outcome.work_s == pytest.approx(4 * 900)  # in the end all four are done
    assert len(outcome.waits_s) == 4


def test_a_protected_group_waits_for_its_workers_to_be_idle():
    outcome = run(trace([0, 0, 0], [600, 1200, 1800]), Script(3, 1, protects=True), start=4)
    assert (outcome.killed, outcome.lost_s) == (0, 0)
    surplus_s, last_s = 9, HOUR_S  # the idle one goes at once, two when they are done, the last one stays
    assert outcome.instance_s == pytest.approx(surplus_s + 600 + 1200 + last_s)


def test_the_group_ends_from_its_fullest_zone():
    world = World(trace([], []), Script(4), 1, start=4)  # two in the first zone, one in each other
    world._apply(3)
    assert sorted(worker.zone for worker in world.workers) == [0, 1, 2]


def test_direction_changes_count_turns_not_steps():
    outcome = run(trace([], []), Script(2, 3, 4, 3, 2, 5, 5))
    assert outcome.turns == 2


def test_rows_without_a_worker_count_as_processing():
    seen = []

    class Watch(Constant):
        def ask(self, view):
            seen.append(view.processing)
            return 1

    run(trace([], [], length_s=300, phantoms_s=((60, 180),)), Watch(1))
    assert seen == [0, 1, 1, 0, 0]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_out_is_unknown_and_comes_back(source):
    seen = []

    class Watch(Constant):
        def ask(self, view):
            seen.append(
                {"database": view.uploaded, "queue": view.visible, "cloudwatch": view.points}[source] is None
            )
            return 1

    run(trace([], [], length_s=600, outages_s=((source, 120, 299),)), Watch(1))
    assert seen == [False, False, True, True, True, False, False, False, False, False]


def test_points_are_stamped_at_their_minute_and_come_late():
    seen = []

    class Watch(Constant):
        def ask(self, view):
            seen.append((view.at_s, view.points))
            return 1

    run(trace([0], [9000]), Watch(1))
    for _, points in seen:
        assert all((point.at - EPOCH).total_seconds() % TICK_S == 0 for point in points)
        assert all(point.value == 1 for point in points)
    lengths = [
        len([p for p in points if (p.at - EPOCH).total_seconds() > at_s - 130]) for at_s, points in seen[5:]
    ]
    assert min(lengths) < max(lengths)  # now and then the newest cannot be read yet


def test_messages_are_in_flight_only_where_they_are_held():
    seen = {}
    for name in CONTENDERS[2:4]:
        policy = make_policy(name, 1, 20)
        world = World(trace([0], [9000], length_s=120), policy, 1)
        asked = policy.ask
        policy.ask = lambda view, name=name, asked=asked: (
            seen.__setitem__(name, view.in_flight) or asked(view)
        )
        world.run()
    assert list(seen.values()) == [0, 1]


# The traces


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_its_seeds_and_has_an_outage_of_each_source_a_day(name):
    one = make_trace(name, 3)
    assert one == make_trace(name, 3)
    assert one != make_trace(name, 4)
    assert list(one.arrivals_s) == sorted(one.arrivals_s)
    assert len(one.arrivals_s) == len(one.jobs_s) == len(one.burst_of)
    for day in range(TRACES[name][0]):
        for source in SOURCES:
            of_day = [
                (start, end) for out, start, end in one.outages_s if out == source and start // 86_400 == day
            ]
            assert [end - start for start, end in of_day] == [pytest.approx(OUTAGE_S)]


def test_encodes_take_minutes_to_hours():
    jobs_s = sorted(job_s for seed in range(5) for job_s in make_trace("diurnal with bursts", seed).jobs_s)
    assert statistics.median(jobs_s) == pytest.approx(1800, rel=0.1)
    assert statistics.fmean(jobs_s) == pytest.approx(2700, rel=0.1)
    assert jobs_s[-1] > 4 * HOUR_S


def test_only_the_phantom_trace_has_phantoms():
    assert [name for name in TRACES if make_trace(name, 0).phantoms_s] == ["phantom rows"]


# The contenders


def view(**changes):
    given = {"desired": 6, "in_service": 6, "points": ()}
    return View(**(given | changes))


def points(*values, newest_ago_s=30.0):
    count = len(values)
    return tuple(
        Point(EPOCH + timedelta(seconds=-newest_ago_s - TICK_S * (count - 1 - index)), value)
        for index, value in enumerate(values)
    )


def test_the_platform_takes_an_unreadable_queue_for_an_empty_one():
    policy = Platform(1, 20, holds_messages=True)
    asked = [policy.ask(view(at_s=60.0 * tick)) for tick in range(21)]
    assert asked == [6] * 20 + [1]


def test_the_platforms_patience_begins_anew_with_each_message():
    policy = Platform(1, 20, holds_messages=False)
    asked = [policy.ask(view(at_s=60.0 * tick, visible=int(tick == 15))) for tick in range(37)]
    assert asked == [6] * 15 + [1] + [6] * 20 + [1]


def test_the_platforms_model_is_the_decisions_legacy_answer():
    """Tick by tick on a real trace; both must also have something to say."""
    depths = []
    answers = []

    class Both(Platform):
        def ask(self, view):
            asked = super().ask(view)
            at = EPOCH + timedelta(seconds=view.at_s)
            inputs = Inputs(
                at=at,
                uploaded=Reading(None, None),
                processing=Reading(None, None),
                visible=Reading(view.visible, 0.0),
                in_flight=Reading(view.in_flight, 0.0),
                window=(),
                queue_window=tuple(depths[-20:]),
                group=Group(1, 20, view.desired, view.in_service, False),
            )
            assert decide(inputs).legacy_desired == asked
            depths.append(Point(at.replace(second=0), float(view.visible)))
            answers.append(asked)
            return asked

    calm = make_trace("quiet week", 1)
    run(trace(calm.arrivals_s, calm.jobs_s, length_s=calm.length_s), Both(1, 20, holds_messages=False))
    assert len(set(answers)) > 2


def test_hpa_follows_the_highest_recommendation_of_five_minutes():
    policy = Hpa(1, 20)
    assert policy.ask(view(at_s=0.0, points=points(9.0))) == 9
    assert policy.ask(view(at_s=0.0, points=points(2.0), desired=9)) == 9
    assert policy.ask(view(at_s=301.0, points=points(2.0, newest_ago_s=-270), desired=9)) == 2


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        pytest.param(None, 6, id="error-holds"),
        pytest.param((), 1, id="empty-reads-as-nothing"),
        pytest.param(points(9.0, newest_ago_s=301), 1, id="too-old-reads-as-nothing"),
        pytest.param(points(6.5), 6, id="within-the-tolerance"),
        pytest.param(points(40.0), 20, id="maximum"),
    ],
)
def test_hpa_reads_what_keda_gives_it(given, asked):
    assert Hpa(1, 20).ask(view(points=given)) == asked


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
    assert Buildkite(1, 20).ask(view(**changes)) == asked


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
    policy = TargetTracking(1, 20)
    answers = [policy.ask(view(points=None if value is None else points(value))) for value in values]
    assert answers[-1] == asked


def test_target_tracking_does_not_take_a_little_less_for_low():
    policy = TargetTracking(1, 20)
    answers = [policy.ask(view(desired=20, in_service=20, points=points(18.5))) for _ in range(15)]
    assert answers == [20] * 15
    assert [policy.ask(view(desired=20, in_service=20, points=points(17.5))) for _ in range(15)][-1] == 18


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_stays_within_the_limits_and_alike_for_the_same_seed(name):
    given = make_trace("endless trickle", 2, at_most_days=1)
    first, second = (World(given, make_policy(name, 1, 8), 2, high=8, record=True).run() for _ in range(2))
    assert first == second
    assert {desired for _, _, desired, _ in first.series} <= set(range(1, 9))


# The claims


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("contender", [PROTECTED, UNPROTECTED])
def test_no_busy_worker_is_ended_outages_included(name, contender):
    for seed in range(2):
        outcome = World(make_trace(name, seed, 2), make_policy(contender, 1, 20), seed).run()
        assert (outcome.killed, outcome.lost_s) == (0, 0)
        assert outcome.work_s > 0


def test_the_other_contenders_do_end_busy_workers():
    given = make_trace("endless trickle", 0)
    for contender in CONTENDERS[2:-1]:
        assert World(given, make_policy(contender, 1, 20), 0).run().killed > 0


def test_a_protected_fleet_shrinks_under_a_trickle_that_never_ends():
    outcome = World(make_trace("endless trickle", 0), make_policy(PROTECTED, 1, 20), 0).run()
    assert outcome.instance_s / outcome.work_s < 1.5


# The figures


def test_figures_of_pooled_runs():
    one = Outcome(
        waits_s=[0, 60, 120],
        drains_s=[600],
        instance_s=7200,
        needed_s=4000,
        work_s=3600,
        turns=3,
        length_s=43_200,
    )
    two = Outcome(
        waits_s=[240, 600],
        instance_s=3600,
        needed_s=3200,
        work_s=3600,
        killed=2,
        lost_s=1800,
        length_s=43_200,
    )
    figures = measure([one, two])
    assert figures["wait_p50_min"] == 2
    assert figures["drain_p95_min"] == 10
    assert figures["cost"] == 1.5
    assert figures["floor"] == 1.0
    assert (figures["killed"], figures["lost_h"]) == (2, 0.5)
    assert figures["turns"] == 3 / 24


def test_a_bootstrap_interval_holds_the_mean_and_narrows_with_the_seeds():
    few, many = bootstrap([1.0, 2.0, 3.0, 4.0]), bootstrap([1.0, 2.0, 3.0, 4.0] * 25)
    assert few.low < few.mean == 2.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert bootstrap([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_the_text_goes_between_the_markers_and_nowhere_else():
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.insert(document, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n{report.END}\nafter\n"
    assert report.insert(once, "new") == once


@pytest.mark.parametrize("document", ["", report.BEGIN, report.END])
def test_a_document_without_markers_is_refused(document):
    with pytest.raises(ValueError, match="written by make simulate"):
        report.insert(document, "new")


def test_the_command_prints_and_writes_the_same_and_draws(tmp_path, capsys):
    document = tmp_path / "scaling.md"
    document.write_text(f"# Scaling\n\n{report.BEGIN}\n{report.END}\n")
    assert main(["--quick", "--processes", "1", "--docs", str(document)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in document.read_text()
    for heading in ("### Goals", "### Quiet week", "### All traces together", "closed form"):
        assert heading in printed
    for contender in CONTENDERS:
        assert printed.count(f"| {contender} |") == len(TRACES) + 1
    drawn = sorted((tmp_path / "scaling").iterdir())
    assert len(drawn) == len(TRACES) + 1
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


# Replay


@pytest.fixture
def record():
    window = tuple(Point(EPOCH - timedelta(minutes=ago), 2.0) for ago in range(1, 21))
    readings = dict.fromkeys(("uploaded", "processing", "visible", "in_flight"), Reading(1, 0.25))
    inputs = Inputs(at=EPOCH, **readings, window=window, queue_window=(), group=Group(1, 20, 9, 9, True))
    return decide(inputs).to_record()


FORMS = {
    "bare": lambda record: json.dumps(record),
    "pretty": lambda record: json.dumps({"decision": record}, indent=2),
    "log-line": lambda record: (
        "[INFO] 2026-01-05T00:00:00Z 1234 " + json.dumps({"decision": record, "level": "INFO"})
    ),
    "execution-output": lambda record: json.dumps(
        {"status": "SUCCEEDED", "output": json.dumps({"backlog": {"decision": record}})}
    ),
    "with-what-the-handler-adds": lambda record: json.dumps({"decision": {**record, "mode": "apply"}}),
    "among-other-lines": lambda record: "START\n{not json}\n" + json.dumps({"decision": record}) + "\nEND\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_replay_finds_the_record_and_gives_the_same_answer(form, record, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(FORMS[form](record))
    assert replay.main([str(path)]) == 0
    printed = capsys.readouterr().out
    assert record["reason"] in printed
    assert printed.count("the same answer") == 1


def test_replay_reads_standard_input(record, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(record)))
    assert replay.main(["-"]) == 0
    assert "scale-in, desired 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "hold"),
        ("desired", 4),
        ("reason", "because"),
        ("held", True),
        ("rules", []),
        ("legacyDesired", 5),
        ("want", 3),
    ],
)
def test_replay_names_what_differs(field, value, record, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(
        json.dumps({"decision": {**record, field: value}}) + "\n" + json.dumps({"decision": record})
    )
    assert replay.main([str(path)]) == 1
    printed = capsys.readouterr().out
    assert f"DIFFERS {field}: recorded {value!r}" in printed
    assert printed.count("the same answer") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no decision record", id="empty"),
        pytest.param('{"decision": null}', "no decision record", id="no-decision"),
        pytest.param('{"inputs": {}, "rules": []}', "inputs.group: missing", id="incomplete"),
    ],
)
def test_replay_says_what_it_cannot_read(text, says, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text(text)
    assert replay.main([str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["/nonexistent/log"]])
def test_replay_wants_one_file_that_is_there(arguments, capsys):
    assert replay.main(arguments) == 2
    assert capsys.readouterr().err
