"""The scaling decision: a table of inputs and the size that they give, and what a record must be."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from video_reclaim.conversion import Malformed, from_builtins, to_builtins
from video_reclaim.scaling.decision import decide, idle_while_waiting, waiting_at_maximum
from video_reclaim.scaling.override import parse_override
from video_reclaim.scaling.records import Decision, Group, Inputs, LastKnown, Override, Point, Scaling
from video_reclaim.scaling.window import last_known

AT = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
MINUTE = AT.replace(second=0)
UNKNOWN = None
SETTINGS = Scaling("apply", 1, 1, 120, 1200, "/order")


def points(value=0, minutes=range(1, 21), **others):
    """One point a minute; `minutes` counts back from the minute of the decision, `others` as in ``m3=9``."""
    values = dict.fromkeys(minutes, value) | {int(name[1:]): at for name, at in others.items()}
    return tuple(Point(MINUTE - timedelta(minutes=ago), float(at)) for ago, at in values.items())


def without(*minutes):
    return points(minutes=[ago for ago in range(1, 21) if ago not in minutes])


def inputs(uploaded=0, processing=0, visible=0, *, group=1, **changes):
    """Give inputs; a group is its desired capacity, or fields of it; a setting is given by its own name."""
    fields = group if isinstance(group, dict) else {"desired": group}
    known = {"min": 1, "max": 20, "in_service": fields.get("desired", 1), "safety": "protected", "desired": 1}
    settings = {name: changes.pop(name) for name in [*changes] if name in Scaling.__struct_fields__}
    given = Inputs(AT, uploaded, processing, visible, points(), Group(**known | fields), SETTINGS, 60)
    return replace(given, settings=replace(SETTINGS, **settings), **changes)


def order(mode, desired=None, hours=1):
    return {"override": Override(mode, AT + timedelta(hours=hours), desired, "fire drill")}


def drained(count):
    return {"held_by_draining": count}


def case(name, given, desired, held=False):
    return pytest.param(given, desired, held, id=name.replace(" ", "-"))


NINE, ZERO = {"group": 9}, {"min": 0, "desired": 0}
OUT = [
    case("all at once without any point", inputs(12, window=()), 12),
    case("waiting and at work", inputs(9, 3, group=3), 12),
    case("rounded up to whole workers", inputs(9, 3, videos_per_worker=5), 3),
    case("never over the live maximum", inputs(900), 20),
    case("larger than a float", inputs(10**400, videos_per_worker=3), 20),
    case("messages that are not visible yet", inputs(5, visible=0), 5),
    case("queue unknown", inputs(5, visible=UNKNOWN), 5),
    case("deletions start no second worker", inputs(visible=15), 1),
    case("deletions start a first worker", inputs(visible=15, group=ZERO), 1),
    case("nothing at all starts none", inputs(group=ZERO), 0),
    case("a worker for each row", inputs(1, 20, group={"desired": 1, "max": 30}), 21),
    case("a row that no worker can ever get", inputs(1, 4, stranded=4), 1),
    case("draining instances finish what they hold", inputs(2, 5, **drained(3), group=2), 4),
    case("draining instances that hold nothing do nothing", inputs(3, 10, group=10), 13),
    case("capped", inputs(12, group=2, max_step_out=5), 7),
    case("exactly the cap", inputs(12, group=7, max_step_out=5), 12),
    case("as many as desired", inputs(4, group=4), 4),
]
IN = [
    case("calm", inputs(**NINE), 1),
    case("peak of both windows", inputs(**NINE, window=points(m1=3)), 3),
    case("short peak and the spare", inputs(**NINE, window=points(m2=3, m9=6)), 4),
    case("spare of one above nothing", inputs(**NINE, window=points(m3=3, m9=6)), 1),
    case("two spares", inputs(**NINE, window=points(m2=3, m9=6), spare_workers=2), 5),
    case("no spare", inputs(**NINE, window=points(m2=3, m9=6), spare_workers=0), 3),
    case("spare up to the oldest minute", inputs(**NINE, window=points(m2=3, m20=4)), 4),
    case("older than the window", inputs(**NINE, window=points(m2=3, m21=7)), 3),
    case("wider", inputs(**NINE, window=points(m4=3, m9=6), peak_window_seconds=240), 4),
    case("the open minute counts", inputs(**NINE, window=points(m0=6)), 6),
    case("the value measured now counts", inputs(4, **NINE), 4),
    case("whole workers", inputs(**NINE, window=points(6), videos_per_worker=4), 2),
    case("to nothing", inputs(group={"min": 0, "desired": 4}), 0),
    case("from a minimum of 0", inputs(window=points(m2=3, m9=6), group={"min": 0, "desired": 9}), 3),
    case("not to nothing while a deletion waits", inputs(visible=1, group={"min": 0, "desired": 4}), 1),
    case("below the maximum that was lowered", inputs(group=25), 1),
    case("ten drain with videos", inputs(0, 20, **drained(10), window=points(20), group=15), 10),
    case(
        "a spare beside ten that drain", inputs(0, 12, **drained(10), window=points(12, m9=16), group=15), 3
    ),
    case("ten drain without", inputs(0, 10, window=points(10), group=15), 10),
    case("others at work", inputs(0, 3, window=points(3), group={"desired": 9, "safety": "hooked"}), 3),
    case("unprotected and calm", inputs(group={"desired": 9, "safety": "unprotected"}), 1),
    *[
        case(f"one minute of {name} absent", inputs(**NINE, window=without(*minutes)), 1)
        for name, minutes in {"newest": [1], "middle": [7], "oldest": [20], "two": range(1, 21, 2)}.items()
    ],
    case("slower", inputs(**NINE, window=points(minutes=range(3, 21, 5)), measured_every_s=300), 1),
]
STAY = [
    case("queue unknown", inputs(visible=UNKNOWN, **NINE), 9, held=True),
    *[
        case(f"hole {name}", inputs(**NINE, window=window), 9, held=True)
        for name, window in {
            "middle": without(7, 8),
            "newest": without(1, 2),
            "oldest": without(19, 20),
            "no point": (),
            "values that are no counts": points(m7=-1, m8=float("nan")),
        }.items()
    ],
    case("slower", inputs(**NINE, window=points(minutes=[3, 13, 18]), measured_every_s=300), 9, held=True),
    case("an instance refresh", inputs(**NINE, shrink_problem="a refresh"), 9, held=True),
    case("the windows, which is ordinary", inputs(window=points(m2=9), **NINE), 9),
    *[
        case(f"unprotected, {name}", inputs(*counts, group={"desired": 9, "safety": "unprotected"}), 9)
        for name, counts in {"one at work": (0, 1), "one waits": (1,), "a message waits": (0, 0, 1)}.items()
    ],
    case("over the maximum on doubt", inputs(group=25, window=()), 20, held=True),
    case("over the maximum and busy", inputs(40, group=25), 20),
    case("under the minimum", inputs(group=0), 1),
]


def blind(visible, last=None, wanted=None, **changes):
    """Give inputs without the database; `last` has the backlog and the messages then, and most messages since."""
    known = last and LastKnown(last[0], wanted, *last[1:])
    return inputs(UNKNOWN, UNKNOWN, visible, last_known=known, **changes)


BLIND = [
    case("no message", blind(0, **NINE), 9, held=True),
    case("queue unknown too", blind(UNKNOWN, **NINE), 9, held=True),
    case("nothing was ever published: each message, and a spare", blind(3, group=2), 4),
    case("messages since, and a spare", blind(3, (4, 1, 3), group=4), 7),
    case("messages that were there before", blind(3, (4, 3, 3), group=4), 4, held=True),
    case("what has been taken meanwhile still counts", blind(1, (3, 0, 7), group=4), 11),
    case("growth that a cap withheld", blind(9, (12, 9, 9), group=2, max_step_out=3), 5),
    case("whole workers", blind(5, (0, 0, 5), videos_per_worker=2, group=2), 4),
    case("what draining instances held then", blind(3, (20, 1, 3), wanted=10, group=10), 13),
    case("what a window kept then", blind(3, (2, 1, 3), wanted=10, group=10), 10, held=True),
    case("thrice the instances in service at most", blind(15, (0, 0, 15), group=2), 6),
    case("a first worker", blind(15, (0, 0, 15), group=ZERO), 1),
    case("a first worker for messages that were there before", blind(4, (0, 4, 4), group=ZERO), 1),
    case("never smaller", blind(1, (0, 1, 1), **NINE), 9, held=True),
    case("larger than the maximum", blind(90, **NINE), 20),
]
ORDERS = [
    case("hold withholds out", inputs(12, **order("hold")), 1, held=True),
    case("hold withholds in", inputs(**NINE, **order("hold")), 9, held=True),
    case("hold with nothing to withhold", inputs(4, group=4, **order("hold")), 4),
    case("no-scale-in withholds in", inputs(**NINE, **order("no-scale-in")), 9, held=True),
    case("no-scale-in lets out", inputs(12, **order("no-scale-in")), 12),
    case("no-scale-out withholds out", inputs(12, **order("no-scale-out")), 1, held=True),
    case("no-scale-out lets in", inputs(**NINE, **order("no-scale-out")), 1),
    case("fixed above", inputs(**order("fixed", 7)), 7),
    case("fixed there", inputs(12, group=7, **order("fixed", 7)), 7),
    case("fixed even on doubt", inputs(9, 9, window=(), **NINE, **order("fixed", 2)), 2),
    case("fixed within the live limits", inputs(**order("fixed", 99)), 20),
    case("expires at its very moment", inputs(12, **order("hold", hours=0)), 12),
    case("unclear withholds in", inputs(**NINE, override_problem="until: is missing"), 9, held=True),
    case("unclear lets out", inputs(12, override_problem="until: is missing"), 12),
]


@pytest.mark.parametrize(("given", "desired", "held"), [*OUT, *IN, *STAY, *BLIND, *ORDERS])
def test_the_size(given, desired, held):
    decision = decide(given)
    assert (decision.desired, decision.held) == (desired, held), decision.reason
    now = given.group.clamp(given.group.desired)
    assert decision.action == ("hold" if desired == now else "scale-out" if desired > now else "scale-in")
    assert type(decision.desired) is int


def test_an_unknown_group_is_left_alone_even_by_an_order():
    for changes in ({}, order("fixed", 5)):
        unknown = replace(inputs(30, **changes), group=None, group_problem="its instance types have weights")
        decision = decide(unknown)
        assert (decision.action, decision.desired, decision.held) == ("hold", None, True)
        assert "weights" in decision.reason
        assert (idle_while_waiting(unknown), waiting_at_maximum(unknown)) == (None, None)


def test_the_same_messages_ask_for_no_more_when_the_instances_that_they_asked_for_come_up():
    """The database is away for the workers too, so nobody takes the three messages."""
    desired = 1
    for _ in range(15):
        desired = decide(blind(3, (0, 0, 3), group={"desired": desired, "in_service": desired})).desired
    assert desired == 4


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (
            inputs(14, 5, 1, held_by_draining=1, stranded=1, videos_per_worker=2, group=2, max_step_out=5),
            [
                "14 waiting",
                "3 at work",
                "2 more at draining",
                "messages: some",
                "2 per worker",
                "9 wanted",
                "desired 2",
                "1 to 20",
            ],
        ),
        (inputs(12, group=2, max_step_out=5), ["Out to 7", "at most 5"]),
        (
            inputs(0, 2, window=points(m2=3, m9=1234567), group=9),
            ["In to 4", "3 in 2 minutes", "1234567 in 20", "1 spare"],
        ),
        (
            inputs(**NINE, window=points(minutes=[1]), peak_window_seconds=60, scale_in_window_seconds=60),
            ["in 1 minute,"],
        ),
        (inputs(**NINE, window=points(m1=9)), ["Not in yet", "9 in 2 minutes"]),
        (inputs(**NINE, window=()), ["20 minutes have a hole"]),
        (inputs(group=9, shrink_problem="a refresh"), ["a refresh", "scale-in to 1"]),
        (inputs(**NINE, override_problem="mode: is missing"), ["mode: is missing", "scale-in to 1"]),
        (inputs(12, **order("hold")), ["fire drill", "hold", "scale-out to 12"]),
        (inputs(**order("fixed", 99)), ["fire drill", "fixed at 99", "limits 1 to 20"]),
        (
            blind(3, (4, 1, 3), group=4),
            ["waiting: 3", "backlog 4", "2 more", "1 spare", "7 wanted", "the 4 in service", "desired 4"],
        ),
        (blind(UNKNOWN, **NINE), ["waiting: unknown", "desired 9"]),
        (blind(0, **NINE), ["waiting: 0"]),
    ],
)
def test_the_reason_names_every_number(given, parts):
    assert [part for part in parts if part not in decide(given).reason] == [], decide(given).reason


def test_a_reason_warns_when_an_order_may_end_busy_workers():
    unprotected = {"desired": 9, "safety": "unprotected"}
    for changes, warns in (
        ({}, True),
        ({"processing": 0}, False),
        ({"group": 9}, False),
        (order("fixed", 9), False),
    ):
        given = inputs(**{"processing": 9, "group": unprotected, **order("fixed", 2), **changes})
        assert ("may be ended" in decide(given).reason) is warns


@pytest.mark.parametrize(
    ("given", "idle", "beyond"),
    [
        pytest.param(inputs(2, 3, group=6), 2, 0, id="idle-as-far-as-something-waits"),
        pytest.param(inputs(5, 3, group=6), 3, 0, id="something-waits-as-far-as-any-is-idle"),
        pytest.param(
            inputs(5, 9, group={"desired": 20, "in_service": 6}), 0, 5, id="all-busy-at-the-maximum"
        ),
        pytest.param(inputs(5, 9, held_by_draining=4, group=6), 1, 0, id="draining-ones-are-not-in-service"),
        pytest.param(inputs(4, 4, videos_per_worker=2, group=6), 2, 0, id="whole-workers"),
        pytest.param(inputs(0, 0, group=20), 0, 0, id="nothing-waits"),
        pytest.param(blind(3), None, None, id="unknown"),
    ],
)
def test_what_rings(given, idle, beyond):
    assert (idle_while_waiting(given), waiting_at_maximum(given)) == (idle, beyond)


def test_what_was_last_known():
    visible = points(m9=8, m5=2, m3=6, m1=4, minutes=())
    desired = points(m7=9, m5=5, m3=12, minutes=())
    assert last_known(points(minutes=(), m7=3, m5=4), desired, visible, 1) == LastKnown(4, 5, 2, 6)
    assert last_known(points(minutes=(), m8=3), desired, visible, 9) == LastKnown(3, None, 0, 9)
    assert last_known(points(minutes=[7]), desired, (), None) == LastKnown(0, 9, 0, 0)
    assert last_known(points(minutes=(), m9=3), desired, points(minutes=(), m9=8), 1) == LastKnown(
        3, None, 8, 8
    )
    assert last_known((), desired, visible, 1) is None


# The operator's order

UNTIL = "2026-03-02T14:00:00+01:00"


def test_an_order_is_read_from_its_text():
    expected = Override("fixed", datetime(2026, 3, 2, 13, tzinfo=UTC), 6, "launch")
    text = json.dumps({"mode": "fixed", "desired": 6, "until": UNTIL, "reason": "launch"})
    assert parse_override(text, AT) == (expected, None)
    assert parse_override(None, AT) == (None, None)
    for ahead, accepted in ((timedelta(days=30), True), (timedelta(days=31), False)):
        found, problem = parse_override(json.dumps({"mode": "hold", "until": (AT + ahead).isoformat()}), AT)
        assert (found is not None, problem is None) == (accepted, accepted)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"mode": "stop"}, "mode: ", id="unknown-mode"),
        pytest.param({"mode": ...}, "mode: is missing", id="no-mode"),
        pytest.param({"mode": "fixed", "desired": -1}, "desired: ", id="fixed-below-nothing"),
        pytest.param({"mode": "fixed"}, "mode fixed needs desired", id="fixed-without-a-number"),
        pytest.param({"desired": 2.5}, "desired: ", id="half-a-worker"),
        pytest.param({"until": "2026-03-02T14:00:00"}, "until: ", id="no-offset"),
        pytest.param({"until": ...}, "until: is missing", id="without-an-end"),
        pytest.param({"reason": 3}, "reason: ", id="reason-is-a-number"),
        pytest.param({"Until": UNTIL}, "Until: ", id="unknown-field"),
    ],
)
def test_a_malformed_order_names_the_field(changes, field):
    record = {"mode": "hold", "until": UNTIL, "reason": "launch", **changes}
    text = json.dumps({name: value for name, value in record.items() if value is not ...})
    found, problem = parse_override(text, AT)
    assert found is None
    assert problem.startswith(field)


@pytest.mark.parametrize("text", ["", "hold", "[]", "null", "{", "[" * 100_000])
def test_text_that_is_no_object_is_malformed(text):
    found, problem = parse_override(text, AT)
    assert found is None
    assert problem


# Records


def test_a_record_is_json_and_gives_the_same_decision_again():
    group = {"desired": 8, "safety": "hooked", "draining": ("i-1",)}
    decision = decide(inputs(3, 2, 2, group=group, max_step_out=3, **drained(1), **order("no-scale-in")))
    record = json.loads(json.dumps(to_builtins(decision)))
    assert set(record) == {"action", "desired", "reason", "held", "inputs"}
    assert from_builtins(record, Decision) == decision
    assert decide(from_builtins(record["inputs"], Inputs)) == decision
    record["desired"] = float(record["desired"])  # Step Functions may write whole numbers so
    assert from_builtins(record, Decision, strict=False) == decision


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("at",), "2026-03-02T12:00:07", id="time-without-a-zone"),
        pytest.param(("uploaded",), "3", id="count"),
        pytest.param(("heldByDraining",), -1, id="less-than-nothing"),
        pytest.param(("group", "safety"), "none", id="choice"),
        pytest.param(("settings", "videosPerWorker"), 0, id="nobody-works"),
        pytest.param(("settings", "maxStepOut"), 0, id="no-step"),
        pytest.param(("settings", "spareWorkers"), -1, id="fewer-than-none"),
        pytest.param(("settings", "peakWindowSeconds"), 90, id="half-a-minute"),
        pytest.param(("settings", "scaleInWindowSeconds"), -60, id="backwards"),
        pytest.param(("measuredEveryS",), 90, id="between-minutes"),
        pytest.param(("override",), {"mode": "hold"}, id="missing"),
    ],
)
def test_a_record_that_cannot_be_read_names_the_field(path, value):
    record = to_builtins(inputs())
    target = record
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(Malformed) as caught:
        from_builtins(record, Inputs)
    assert caught.value.field.startswith(".".join(path))
