"""The judge of a soak finds each violation in a small history, and takes nothing else for one."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dev.chaos import deliveries, product, verdicts
from dev.chaos.case import Case
from dev.chaos.deliveries import Cause
from dev.chaos.environment import Timing
from dev.chaos.history import PRODUCT, SAVE, Event, Row, Write
from dev.chaos.queue import OPERATOR, PLATFORM, WORKER

NOW = 100_000.0
WAITING = Row("UPLOADED", "", None, None, None, "key", "{}")
WORKED_ON = Row("PROCESSING", "i-1-a", NOW + 500, "claim-1", None, "key", "{}")
STUCK = replace(WORKED_ON, leased_until=NOW - 1)
HANDED = replace(WORKED_ON, status="UPLOADED", leased_by="reclaim:t", leased_until=NOW + 900)
CLEARED = replace(HANDED, leased_by="", leased_until=None)
DONE = replace(CLEARED, status="READY")
QUARANTINED = replace(CLEARED, status="FAILED", error_reason=f"{product.QUARANTINE_REASON}: 2 times")
BODY = json.dumps({"video_id": 1})


class Story:
    """A history of one video, told event by event."""

    def __init__(self):
        self.told = []

    def write(self, at, before, after, who=PRODUCT, video=1):
        self.told.append(Write(at, who, video, before, after, "Reclaim-1" if who == PRODUCT else None))
        return self

    def event(self, at, kind, **details):
        self.told.append(Event(at, kind, details))
        return self

    def accepted(self, at, sender="Enqueue-1"):
        return self.event(at, "accepted", message=f"m{at}", body=BODY, sender=sender, delay_s=0)

    def deleted(self, at, sent_at):
        return self.event(at, "deleted", message=f"m{sent_at}", body=BODY)

    def invocation(self, at, name, *calls, until=None, error=None, faults=(), **given):
        """An invocation that makes calls, each answered at a time: (name, at, details)."""
        event = {"execution": "x", "videos": [1], "input": given}
        self.event(at, "began", invocation=name, step=name.split("-")[0], event=event)
        for call, when, details in calls:
            told = {"invocation": name, "call": call, "when": "after", "rows": []} | details
            self.event(when, "call", **told)
        for fault in faults:
            self.event(at, "fault", invocation=name, fault=fault)
        return self.event(until or at + 5, "ended", invocation=name, error=error)

    def step(self, at, event, video=1, worker="i-1", **details):
        told = {"began": at, "worker": worker, "event": event, "video": video} | details
        if event == "beat":
            self.event(at, "step", **told | {"event": "claimed"})
        return self.event(at, "step", **told)

    def at_work_on_the_older_path(self, video):
        self.write(NOW - 300, WAITING, WORKED_ON, who="i-2", video=video)
        return self.step(NOW - 300, "claimed", video=video, manner="older")

    def fault(self, at, fault):
        return self.event(at, "fault", fault=fault)

    def case(self, **timing):
        return Case(sorted(self.told, key=lambda one: one.at), Timing(**timing))

    def broken(self, **timing):
        return {v.rule for v in verdicts.violations(self.case(**timing))} - {"nothing_lost"}


def taking(before, after=HANDED, *, looked_at=NOW - 1, at=NOW, depth=(0, 0), **given):
    """The product takes a video, after a listing and a look of its own; ``depth``: visible, in flight."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    counts = {"depth": dict(zip(names, depth, strict=True)) | {"ApproximateNumberOfMessagesDelayed": 0}}
    calls = [("look", looked_at, {}), ("read videos", looked_at, {}), ("read depth", looked_at, counts)]
    story = Story().invocation(looked_at - 10, "ListStaleVideos-1", *calls, until=looked_at - 0.5, **given)
    calls = [("look", looked_at, {}), ("read videos", looked_at, {})]
    return story.invocation(looked_at - 0.2, "Reclaim-1", *calls, **given).write(at, before, after)


KEEPS, MASS = "living_workers_keep_their_videos", "mass_silence_waits"
COUNT, RELEASE = "quarantined_after_reclaims", "released_on_request"
ADOPTED = replace(HANDED, leased_by="reclaim:u")
ORPHAN = replace(HANDED, leased_by="reclaim:old", leased_until=NOW - 1)
CLAIMED_AGAIN = replace(STUCK, processing_started_at="claim-2")


def told_silent(heard):
    """Three workers are silent when a video is taken, and so many were heard."""
    story = taking(WORKED_ON)
    for video in range(1, 4 + heard):
        story.step(NOW - (100 if video < 4 else 5), "beat", video=video)
        story.write(NOW - 300, WAITING, WORKED_ON, who="i-1", video=video)
    return story


def quarantined(before):
    """A video is quarantined after a first claim, and what was written since."""
    after = replace(QUARANTINED, processing_started_at=before.processing_started_at)
    return taking(before, after).write(1, WAITING, STUCK, who="i-1").write(2, STUCK, before, who="i-2")


def sent_into_a_cancel():
    commands = {"commands": [("PTTL", "tenant:1:video:1:cancel_requested")], "answers": [5000]}
    return Story().invocation(1, "Enqueue-1", ("prepare jobs", 1.5, commands)).accepted(2)


@pytest.mark.parametrize(
    ("story", "timing", "broken"),
    [
        # The product's writes: a reclaim, a handoff without a term, one of a video that is done, another column, a
        # reason without a quarantine, adopted before its end and after it, cleared without a message.
        (taking(STUCK), {}, []),
        (taking(STUCK, replace(HANDED, leased_until=None)), {}, ["known_steps"]),
        (taking(DONE), {}, ["known_steps", RELEASE]),
        (taking(STUCK, replace(HANDED, file_key="another")), {}, ["known_steps"]),
        (taking(STUCK, replace(HANDED, error_reason="x")), {}, ["known_steps"]),
        (taking(HANDED, ADOPTED), {}, ["known_steps"]),
        (taking(replace(HANDED, leased_until=NOW - 1), ADOPTED), {}, []),
        (taking(HANDED, CLEARED), {}, ["cleared_after_sending"]),
        # A heartbeat: silent for a minute, heard, deleted by somebody, an expired lease, which may be spared, an
        # orphan that beats, though Redis lost that, and an instance that was terminated, or another one.
        (taking(WORKED_ON).step(NOW - 62, "beat"), {}, []),
        (taking(WORKED_ON).step(NOW - 30, "beat"), {}, [KEEPS]),
        (taking(WORKED_ON).step(NOW - 30, "beat").step(NOW - 20, "beatDeleted"), {}, [KEEPS]),
        (taking(STUCK).step(NOW - 30, "beat"), {}, []),
        (taking(STUCK).step(NOW - 30, "beat"), {"expired_but_beating": "spare"}, [KEEPS]),
        (taking(ORPHAN).step(NOW - 30, "beat"), {}, [KEEPS]),
        (taking(ORPHAN).step(NOW - 30, "beat").fault(NOW - 9, "Redis restarts empty"), {}, [KEEPS]),
        (taking(WORKED_ON, terminated=["i-1"]).step(NOW - 5, "beat"), {}, []),
        (taking(WORKED_ON, terminated=["i-2"]).step(NOW - 5, "beat"), {}, [KEEPS]),
        (told_silent(heard=1), {}, [MASS]),
        (told_silent(heard=4), {}, []),
        (told_silent(heard=1).fault(NOW - 50, "Redis restarts empty"), {}, []),
        # A video that waited too short.
        (taking(CLEARED).write(NOW - 200, WORKED_ON, CLEARED, who="i-1"), {}, ["resent_after_waiting"]),
        (taking(CLEARED).write(NOW - 200, WORKED_ON, CLEARED, who="i-1"), {"lost_after_seconds": 100}, []),
        # Releases: on request, of another video, of one that was not quarantined.
        (taking(QUARANTINED, release=[1]), {}, []),
        (taking(QUARANTINED, release=[2]), {}, [RELEASE]),
        (taking(replace(QUARANTINED, error_reason="ffmpeg"), release=[1]), {}, [RELEASE]),
        # Quarantines: too early, after a second claim, and without a dead worker.
        (quarantined(STUCK), {"max_reclaims": 1}, [COUNT]),
        (quarantined(CLAIMED_AGAIN), {"max_reclaims": 1}, []),
        (quarantined(CLAIMED_AGAIN), {"max_reclaims": 0}, [COUNT]),
        (quarantined(CLEARED), {"max_reclaims": 1}, ["known_steps", COUNT]),
        (Story().invocation(1, "Enqueue-1").accepted(2), {}, []),
        (sent_into_a_cancel(), {}, ["not_sent_into_a_cancel"]),
    ],
)
def test_what_breaks_a_rule(story, timing, broken):
    assert story.broken(**timing) == set(broken)


@pytest.mark.parametrize(
    ("row", "waiting", "lost"),
    [
        (WAITING, [], True),
        (WAITING, [1], False),
        (WORKED_ON, [], True),
        (DONE, [], False),
        (QUARANTINED, [], False),
    ],
)
def test_what_is_lost_at_the_end(row, waiting, lost):
    history = Story().write(1, None, row, who="platform").told
    case = Case(history, Timing(), frozenset(waiting))
    assert bool(list(verdicts.nothing_lost(case))) is lost


SEND = ("send", NOW + 1, {"videos": [1]})


def two(second="Enqueue-2", first="Enqueue-1", calls=(), until=None, **ended):
    """A handoff, and two messages for it."""
    story = taking(STUCK, at=NOW).invocation(NOW + 1, "Enqueue-1", *calls, until=until, **ended)
    return story.accepted(NOW + 2, first).invocation(NOW + 20, "Enqueue-2").accepted(NOW + 30, second)


def resent(*, in_flight=0):
    """A resend, while the queue had one visible message, which is no proof of a loss, or others in flight."""
    story = taking(CLEARED, depth=(int(not in_flight), in_flight)).accepted(NOW - 5000, "Enqueue-0")
    return story.accepted(NOW + 2)


@pytest.mark.parametrize(
    ("story", "cause"),
    [
        (two(PLATFORM), Cause.USER),
        (two(WORKER), Cause.REQUEUE),
        (two(OPERATOR), Cause.OPERATOR),
        (two(faults=["after 'send': die"], error="Lambda.Unknown"), Cause.FAILED),
        (two(faults=["before 'clear handoffs': stall"]), None),
        (two(faults=["before 'answer': lose the answer"]), Cause.LOST_BY_FUNCTION),
        (two(until=NOW + 25), Cause.LOST_BY_FUNCTION),
        (two(faults=["before 'send': SQS times out"]), Cause.LOST_BY_SQS),
        (two(second="Enqueue-1", calls=[SEND]), Cause.LOST_BY_SQS),
        (two(second="Enqueue-1", calls=[SEND, SEND]), None),
        (two(), None),
        (two().write(NOW + 10, CLEARED, HANDED, who=SAVE), Cause.SAVED),
        # A message was out when the video was taken.
        (taking(STUCK).accepted(NOW - 90, PLATFORM).accepted(NOW + 2), Cause.RECLAIM),
        (resent(), None),
        (resent(in_flight=1), None),
        (resent(in_flight=1).at_work_on_the_older_path(2), Cause.IN_FLIGHT),
        (
            resent().deleted(NOW - 100, NOW - 5000).step(NOW + 50, "claimed", message=f"m{NOW - 5000}"),
            Cause.PAUSED_WORKER,
        ),
        (taking(CLEARED).accepted(NOW - 0.5, PLATFORM).accepted(NOW + 2), Cause.DURING_RESEND),
    ],
)
def test_why_a_second_message_was_sent(story, cause):
    ((*_, found),) = deliveries.duplicates(story.case())
    assert found == cause
    assert ("duplicates_have_cause" in story.broken()) is (cause is None)


def test_the_causes_are_those_of_the_document():
    text = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
    table = text.partition("## Second messages")[2].partition("\n## ")[0]
    assert re.findall(r"^\| ([a-z][^|]*) \|", table, re.MULTILINE)[1:] == [str(cause) for cause in Cause]
