"""What must never happen, each rule by name, and the search for it in a history.

A rule blames the product alone. What the platform itself gets wrong is part of the world here, and is told
apart by evidence, never by assumption; `docs/worker-contract.md` explains each:

- A worker that dies between deleting a message and claiming its video loses the message. Excused only where
  the worker was killed after it had received that message, and told of no claim.
- A completion that is not fenced writes over whatever the video has become. Workers may do so here.
- A lease that expires is the platform's own reason to reclaim, whether its worker lives or not.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dev.chaos.history import PRODUCT, Event, History, Row, Write
from dev.chaos.sandbox import Timing

_SAME_MOMENT_S = 0.002


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must never happen, and did.

    Attributes:
        rule: which.
        video: whose.
        at: when.
        what: in words.
    """

    rule: str
    video: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: video {self.video} at {self.at:.3f}: {self.what}"


@dataclass
class Case:
    """A history, arranged by video and by invocation."""

    history: History
    timing: Timing
    beat_ttl_s: float
    killed: frozenset[str] = frozenset()
    waiting: frozenset[int] = frozenset()
    writes: dict[int, list[Write]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    began: dict[str, Event] = field(default_factory=dict)
    ended: dict[str, Event] = field(default_factory=dict)
    beats: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    reclaims: dict[int, list[tuple[str, Event]]] = field(default_factory=lambda: defaultdict(list))
    listings: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for write in self.history.writes:
            self.writes[write.video].append(write)
        for event in self.history.events:
            details = event.details
            if event.kind == "accepted":
                self.accepted[_video(details["body"])].append(event)
            elif event.kind == "call":
                self.calls[details["invocation"]].append(event)
                if details["call"] in ("take", "quarantine") and details["when"] == "before":
                    for video in map(int, json.loads(details["parameters"]["leases"])):
                        self.reclaims[video].append((details["invocation"], event))
                if details["call"] == "list" and details["when"] == "after":
                    self.listings += [(row[6], details["invocation"]) for row in details["rows"][:1]]
            elif event.kind == "fault" and "invocation" in details:
                self.faults[details["invocation"]].append(event)
            elif event.kind == "began":
                self.began[details["invocation"]] = event
            elif event.kind == "ended":
                self.ended[details["invocation"]] = event
        for told in self.history.workers:
            if "video" in told:
                (self.beats if told["event"] == "beat" else self.steps)[told["video"]].append(told)

    def by_product(self) -> Iterator[tuple[int, int, Write]]:
        """The product's writes: video, place among the video's writes, write."""
        for video, writes in self.writes.items():
            for place, write in enumerate(writes):
                if write.who == PRODUCT:
                    yield video, place, write


def _video(body: str) -> int:
    return int(json.loads(body)["video_id"])


def _from_worker(write: Write) -> bool:
    """Whether this write took a video from a worker."""
    return bool(
        write.who == PRODUCT
        and write.before
        and write.before.status == "PROCESSING"
        and write.after
        and write.after.handoff_token
    )


def only_its_columns(case: Case) -> Iterator[Violation]:
    """The product writes status, leased_by, leased_until, and error_reason where it quarantines."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            yield Violation("only_its_columns", video, write.at, f"inserted or deleted: {write}")
        elif before.rest != after.rest or before.processing_started_at != after.processing_started_at:
            yield Violation("only_its_columns", video, write.at, f"{before.rest} became {after.rest}")
        elif before.error_reason != after.error_reason and after.status != "FAILED":
            yield Violation("only_its_columns", video, write.at, f"error_reason: {after.error_reason}")


def known_steps(case: Case) -> Iterator[Violation]:
    """The product reclaims, adopts, renews, clears and quarantines, each from where it may; nothing else."""
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None:
            continue
        if _known(before, after, write.transaction_at):
            continue
        yield Violation("known_steps", video, write.at, str(write))


def _known(before: Row, after: Row, now: float) -> bool:
    old, new = before.handoff_token, after.handoff_token
    expired = before.leased_until is not None and before.leased_until < now + _SAME_MOMENT_S
    if new is not None:  # reclaimed, renewed or adopted
        fresh = after.leased_until is not None and after.leased_until > now
        return fresh and (before.status == "PROCESSING" or old == new or (old is not None and expired))
    nobody = after.leased_by == "" and after.leased_until is None
    if after.status == "UPLOADED":
        return nobody and old is not None
    if after.status == "FAILED":
        from_either = before.status == "PROCESSING" or old is not None
        return nobody and from_either and bool(after.error_reason)
    return False


def reclaimed_with_cause(case: Case) -> Iterator[Violation]:
    """Under a live lease a worker loses its video only after two strikes that no beat contradicts.

    The evidence is what Redis answered to the product, and which beats it had acknowledged to workers before.
    """
    for video, _, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.status != "PROCESSING" or after.status == "PROCESSING":
            continue
        a_workers = not before.leased_by.startswith("reclaim:")
        expired = before.leased_until is not None and before.leased_until < write.transaction_at
        if a_workers and expired:
            continue
        what = _no_cause(case, video, write)
        if what:
            yield Violation("reclaimed_with_cause", video, write.at, f"{what}: {write}")


def _no_cause(case: Case, video: int, write: Write) -> str | None:
    invocation = _writer(case, video, write)
    if invocation is None:
        return "no call of the product explains it"
    look = _answer(case.calls[invocation], "read heartbeats and reclaims")
    if look is None:
        return "Redis had not answered"
    asked_at, answered_at, answers = look
    suffix = f":video:{video}:"
    beating, strike = answers.get(f"{suffix}heartbeat"), answers.get(f"{suffix}silence")
    if beating is not None:
        return "its heart was beating"
    ttl_s, confirm_s = case.beat_ttl_s, case.timing.confirm_s
    silent_since = answered_at - ttl_s
    if confirm_s:
        if strike is None:
            return "it had no strike"
        struck_at = float(strike.decode().split(" ")[0])
        rows = next(c for c in case.calls[invocation] if c.details["call"] == "look" and "rows" in c.details)
        seen_at = rows.details["rows"][0][6]
        if seen_at - struck_at < confirm_s - _SAME_MOMENT_S:
            return f"its strike was {seen_at - struck_at:.3f} s old"
        first = [name for at, name in case.listings if abs(at - struck_at) < _SAME_MOMENT_S]
        looks = [_answer(case.calls[name], "read heartbeats") for name in first]
        ends = [found[1] for found in looks if found]
        if not ends:
            return "nobody knows of its first strike"
        silent_since = max(silent_since, max(ends))
    for beat in case.beats[video]:
        if beat["began"] > silent_since and beat["at"] < asked_at:
            return f"{beat['worker']} had been heard at {beat['at']:.3f}"
    return None


def _writer(case: Case, video: int, write: Write) -> str | None:
    """The invocation that made this write: the last that set out to before it."""
    found = None
    for invocation, event in case.reclaims[video]:
        if event.at <= write.at + _SAME_MOMENT_S:
            token = event.details["parameters"].get("holder", "reclaim:")
            if write.after and write.after.leased_by in (token, ""):
                found = invocation
    return found


def _answer(calls: Sequence[Event], call: str) -> tuple[float, float, dict[str, Any]] | None:
    """When Redis was asked and had answered, and its answers by the end of the key."""
    asked = 0.0
    answers: dict[str, Any] = {}
    answered = None
    for event in calls:
        if event.details["call"] != call:
            continue
        if event.details["when"] == "before":
            asked = event.at
            continue
        answered = event.at
        for command, answer in zip(event.details["commands"], event.details["answers"], strict=True):
            if command[0] == "MGET":
                for key, value in zip(command[1:], answer, strict=True):
                    answers[":video:" + str(key).split(":video:")[1]] = value
    return None if answered is None else (asked, answered, answers)


def cleared_after_sending(case: Case) -> Iterator[Violation]:
    """A handoff ends only once SQS has accepted a message for it."""
    for video, place, write in case.by_product():
        before, after = write.before, write.after
        if before is None or after is None or before.handoff_token is None:
            continue
        if after.status != "UPLOADED" or after.handoff_token is not None:
            continue
        taken = next((w for w in reversed(case.writes[video][:place]) if _from_worker(w)), None)
        since = taken.at if taken else 0.0
        if not any(since < message.at < write.at for message in case.accepted[video]):
            yield Violation(
                "cleared_after_sending", video, write.at, f"no message since {since:.3f}: {write}"
            )


def sent_once(case: Case) -> Iterator[Violation]:
    """One reclaim sends one message, unless a fault came between sending and putting it down."""
    for video, messages in case.accepted.items():
        ours = [m for m in messages if m.details["sender"] in case.began]
        for first, second in itertools.pairwise(ours):
            between = [w for w in case.writes[video] if first.at < w.at < second.at]
            if any(_from_worker(w) for w in between):
                continue
            sender = first.details["sender"]
            if sender == second.details["sender"] and _calls_to_send(case, sender, video) == 1:
                continue  # one call of the product: its answer came too late for boto3, which called again
            if _failed(case, sender) or _overlap(case, sender, second.details["sender"]):
                continue
            yield Violation("sent_once", video, second.at, f"{sender} had sent it at {first.at:.3f}")


def _failed(case: Case, invocation: str) -> bool:
    """Whether a fault struck an invocation, or it ended in an error, or not at all."""
    ended = case.ended.get(invocation)
    return bool(case.faults.get(invocation)) or ended is None or ended.details["error"] is not None


def _calls_to_send(case: Case, invocation: str, video: int) -> int:
    return sum(
        event.details["call"] == "send"
        and event.details["when"] == "before"
        and video in event.details["videos"]
        for event in case.calls[invocation]
    )


def _overlap(case: Case, first: str, second: str) -> bool:
    """Whether the second invocation had begun before the first ended: the first was taken for dead."""
    ended, began = case.ended.get(first), case.began[second]
    return first != second and (ended is None or began.at < ended.at)


def one_owner(case: Case) -> Iterator[Violation]:
    """A claim finds the video UPLOADED: nobody takes it from another, and each write builds on the last."""
    for video, writes in case.writes.items():
        for earlier, later in itertools.pairwise(writes):
            if later.before != earlier.after:
                yield Violation("one_owner", video, later.at, f"{earlier} is not what {later} found")
        for write in writes:
            before, after = write.before, write.after
            if before is None or after is None or after.status != "PROCESSING":
                continue
            claimed = before.processing_started_at != after.processing_started_at
            if claimed and before.status != "UPLOADED":
                yield Violation("one_owner", video, write.at, str(write))


def quarantined_after_reclaims(case: Case) -> Iterator[Violation]:
    """A video is given up only after more reclaims than the limit; a fault is worth one of them at most."""
    for video, place, write in case.by_product():
        if write.after is None or write.after.status != "FAILED":
            continue
        limit = case.timing.max_reclaims
        reason = write.after.error_reason or ""
        if limit == 0 or not reason.startswith("Quarantined by video-reclaim: stuck "):
            yield Violation("quarantined_after_reclaims", video, write.at, f"limit {limit}: {reason!r}")
            continue
        real = sum(_from_worker(w) for w in case.writes[video][:place])
        struck = {
            began.details["event"]["execution"]
            for invocation, began in case.began.items()
            if began.details["step"] == "Reclaim" and began.at < write.at
            if video in began.details["event"]["videos"] and _failed(case, invocation)
        }
        if real + len(struck) < limit:
            yield Violation("quarantined_after_reclaims", video, write.at, f"after {real} reclaims: {reason}")


def messages_tell_all(case: Case) -> Iterator[Violation]:
    """A message has the six fields that workers expect, and a later attempt never counts below 2."""
    fields = {"video_id", "file_key", "tenant_id", "tenant_code", "created_at", "attempt"}
    for video, messages in case.accepted.items():
        for message in messages:
            if message.details["sender"] not in case.began:
                continue
            body = json.loads(message.details["body"])
            offset = datetime.fromisoformat(body["created_at"]).utcoffset()
            if set(body) != fields or offset is None or body["attempt"] < 2:
                yield Violation("messages_tell_all", video, message.at, str(body))


def nothing_lost(case: Case) -> Iterator[Violation]:
    """In the end each video is done, has failed for a reason, or waits with a message.

    To be asked once everything has come to rest, with the videos that still have a message as ``waiting``.
    """
    for video, writes in case.writes.items():
        last = writes[-1]
        row = last.after
        if row is None or row.status in ("READY", "PENDING") or video in case.waiting:
            continue
        if row.status == "FAILED":
            if not row.error_reason:
                yield Violation("nothing_lost", video, last.at, f"FAILED without a reason: {last}")
            continue
        if dropped_by_worker(case, video) is None:
            yield Violation("nothing_lost", video, last.at, f"it was left {last}")


def dropped_by_worker(case: Case, video: int) -> str | None:
    """The worker that was killed after it had deleted this video's last message, and before it claimed.

    None if that is not what became of it: then the product has to answer for it.
    """
    writes = case.writes[video]
    row = writes[-1].after if writes else None
    if row is None or row.status != "UPLOADED" or row.leased_by or not case.accepted[video]:
        return None
    last_message = case.accepted[video][-1].details["message"]
    for told in case.steps[video]:
        if told["event"] == "received" and told["message"] == last_message:
            later = [t for t in case.steps[video] if t["worker"] == told["worker"] and t["at"] >= told["at"]]
            if told["worker"] in case.killed and not any(t["event"] in ("claimed", "refused") for t in later):
                return str(told["worker"])
    received = any(e.kind == "received" and e.details["message"] == last_message for e in case.history.events)
    told_of = any(t.get("message") == last_message for t in case.steps[video])
    # Killed between SQS's answer and its own first word: the message comes back once it is visible again.
    return "a worker that was killed as it received" if received and not told_of else None


RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    only_its_columns,
    known_steps,
    reclaimed_with_cause,
    cleared_after_sending,
    sent_once,
    one_owner,
    quarantined_after_reclaims,
    messages_tell_all,
    nothing_lost,
)


def violations(case: Case) -> list[Violation]:
    """All that must never happen and did, first to last."""
    return sorted((v for rule in RULES for v in rule(case)), key=lambda violation: violation.at)


def races(case: Case) -> Counter[str]:
    """How often somebody else came between two of the product's steps: what the fences were there for."""
    seen: Counter[str] = Counter()
    takes: dict[str, tuple[Event, Event | None]] = {}
    for invocation, calls in case.calls.items():
        by_call = {(c.details["call"], c.details["when"]): c for c in calls}
        if ("look", "before") in by_call:
            takes[invocation] = (by_call["look", "before"], by_call.get(("take", "after")))
        sent, cleared = by_call.get(("send", "after")), by_call.get(("clear handoffs", "after"))
        read = by_call.get(("read handoffs", "after"))
        for video in case.began[invocation].details["event"].get("videos", []):
            for write in case.writes[video]:
                if write.who == PRODUCT:
                    continue
                what = _what(write)
                if read and sent and read.at < write.at < sent.at:
                    seen[f"{what} between reading and sending"] += 1
                if sent and cleared and sent.at < write.at < cleared.at:
                    seen[f"{what} between sending and clearing"] += 1
                if invocation in takes and (end := takes[invocation][1]):
                    looked = by_call.get(("look", "after"))
                    if looked and looked.at < write.at < end.at:
                        seen[f"{what} between looking and taking"] += 1
    seen.update(_between_steps(case))
    return seen


def _what(write: Write) -> str:
    if write.after is None:
        return "deleted"
    return {"PROCESSING": "claimed", "READY": "completed", "FAILED": "failed"}.get(
        write.after.status, "retried by the platform"
    )


def _between_steps(case: Case) -> Iterator[str]:
    """Races between functions: from the listing to the reclaim, and from the reclaim to the enqueueing."""
    last_listing: float | None = None
    taken: dict[tuple[str, int], float] = {}
    for began in sorted(case.began.values(), key=lambda event: event.at):
        details = began.details
        if details["step"] == "ListStaleVideos":
            last_listing = began.at
            continue
        for video in details["event"].get("videos", []):
            writes = case.writes[video]
            if details["step"] == "Reclaim":
                taken[details["event"]["execution"], video] = began.at
                since = last_listing
                gap = "listing and reclaiming"
                if since and any(since < beat["at"] < began.at for beat in case.beats[video][-50:]):
                    yield f"beat between {gap}"
            else:
                own = next((w for w in reversed(writes) if w.at < began.at and w.who == PRODUCT), None)
                since, gap = (own.at if own else None), "reclaiming and enqueueing"
            for write in writes:
                if since and since < write.at < began.at and write.who != PRODUCT:
                    yield f"{_what(write)} between {gap}"


def story(case: Case, violation: Violation, *, before_s: float = 20.0, after_s: float = 2.0) -> list[str]:
    """All that is known of one video around a violation, in order, a line each."""
    video, lines = violation.video, []
    for write in case.writes[video]:
        lines.append((write.at, str(write)))
    for event in case.history.events:
        details = event.details
        named = video in details.get("videos", ()) or video in details.get("event", {}).get("videos", ())
        if event.kind in ("accepted", "received", "deleted", "dead"):
            named = _video(details["body"]) == video
        elif event.kind == "call":
            began = case.began.get(details["invocation"])
            named = began is not None and video in began.details["event"].get("videos", ())
        if named or (event.kind == "fault" and "invocation" not in details):
            shown = {
                name: value for name, value in details.items() if name not in ("rows", "answers", "body")
            }
            lines.append((event.at, str(Event(event.at, event.kind, shown))[:400]))
    for told in case.steps[video] + case.beats[video]:
        lines.append((told["at"], f"{told['at']:.3f} {told['worker']} {told['event']}"))
    window = (violation.at - before_s, violation.at + after_s)
    return [line for at, line in sorted(lines) if window[0] < at < window[1]]
