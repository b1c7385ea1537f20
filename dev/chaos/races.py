"""What else a history shows: races between the product and others, and one video's story."""

from collections import Counter
from collections.abc import Iterator

from dev.chaos.case import Case, Violation, video_of
from dev.chaos.history import PRODUCT, Event, Write


def races(case: Case) -> Counter[str]:
    """Count how often another party acted between two steps of the product, by kind."""
    seen: Counter[str] = Counter()
    for invocation, calls in case.calls.items():
        times = {(c.details["call"], c.details["when"]): c.at for c in calls}
        gaps = [
            (times.get(("read handoffs", "after")), times.get(("send", "after")), "reading and sending"),
            (times.get(("send", "after")), times.get(("clear handoffs", "after")), "sending and clearing"),
            (
                times.get(("read videos", "after")),
                times.get(("lease for handoff", "after")),
                "reading and taking",
            ),
        ]
        for video in case.began[invocation].details["event"].get("videos", []):
            for write in case.writes[video]:
                if write.who == PRODUCT:
                    continue
                for begin, end, gap in gaps:
                    if begin and end and begin < write.at < end:
                        seen[f"{_what(write)} between {gap}"] += 1
    seen.update(_between_functions(case))
    return seen


def _what(write: Write) -> str:
    if write.after is None:
        return "deleted"
    return {"PROCESSING": "claimed", "READY": "completed", "FAILED": "failed"}.get(
        write.after.status, "retried by the platform"
    )


def _between_functions(case: Case) -> Iterator[str]:
    """Yield races from the listing to the reclaim, and from the reclaim to the enqueueing."""
    last_listing: float | None = None
    for began in sorted(case.began.values(), key=lambda event: event.at):
        details = began.details
        if details["step"] == "ListStaleVideos":
            last_listing = began.at
            continue
        for video in details["event"].get("videos", []):
            writes = case.writes[video]
            if details["step"] == "Reclaim":
                since = last_listing
                gap = "listing and reclaiming"
                if since and any(since < beat["at"] < began.at for beat in case.beats[video][-50:]):
                    yield f"heartbeat between {gap}"
            else:
                own = next((w for w in reversed(writes) if w.at < began.at and w.who == PRODUCT), None)
                since, gap = (own.at if own else None), "reclaiming and enqueueing"
            for write in writes:
                if since and since < write.at < began.at and write.who != PRODUCT:
                    yield f"{_what(write)} between {gap}"


def story(case: Case, violation: Violation, *, before_s: float = 20.0, after_s: float = 2.0) -> list[str]:
    """Return everything known of one video around a violation, in order, a line each."""
    video = violation.video
    lines = [(write.at, str(write)) for write in case.writes[video]]
    for event in case.history.events:
        if _concerns(case, event, video):
            shown = {
                name: value
                for name, value in event.details.items()
                if name not in ("rows", "answers", "body", "commands")
            }
            lines.append((event.at, str(Event(event.at, event.kind, shown))[:400]))
    for told in case.steps[video] + case.beats[video]:
        lines.append((told["at"], f"{told['at']:.3f} {told['worker']} {told['event']}"))
    window = (violation.at - before_s, violation.at + after_s)
    return [line for at, line in sorted(lines) if window[0] < at < window[1]]


def _concerns(case: Case, event: Event, video: int) -> bool:
    details = event.details
    if event.kind in ("accepted", "received", "deleted", "dead"):
        return video_of(details["body"]) == video
    if event.kind == "call":
        began = case.began.get(details["invocation"])
        return began is not None and video in began.details["event"].get("videos", ())
    if event.kind == "fault" and "invocation" not in details:
        return True
    return video in details.get("videos", ()) or video in details.get("event", {}).get("videos", ())
