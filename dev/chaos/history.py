"""The record of a run: every write to a video, every message, every call of the product, every fault.

Writes are recorded by a trigger in the database, so that none can be missed. The rest is noted in a `Record`
as it happens. All times are the timeline's, which stands still while somebody acts; the machine's clock tells the order
of what happens meanwhile, and each of these gets a microsecond of its own.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any

import psycopg2

PRODUCT = "video-reclaim"
"""The product's ``application_name``."""
SAVE = "platform-save"
"""That of the platform where it saves a whole row, as it was loaded earlier."""
REDIS_FORGETS = "Redis restarts empty"
"""The fault after which Redis has nothing of what it held."""
BEGINS_HANDOFF = ("reclaims", "resends", "releases")
TAKES = (*BEGINS_HANDOFF, "adoptions")
"""The steps that give a video to a handoff of the product's own; see `Write.step`."""

_TRIGGER = r"""
CREATE TABLE history_of_videos (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL, machine_at double precision NOT NULL,
    who text NOT NULL, invocation text NULL, video_id bigint NOT NULL, before jsonb NULL, after jsonb NULL
);
CREATE FUNCTION note_video() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_of_videos (at, machine_at, who, invocation, video_id, before, after) VALUES (
        date_part('epoch', now()), date_part('epoch', pg_catalog.clock_timestamp()),
        current_setting('application_name'), substring(current_query() FROM '^/\* (\S+) \*/'),
        coalesce(NEW.id, OLD.id), to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER note_video AFTER INSERT OR UPDATE OR DELETE ON video_video
FOR EACH ROW EXECUTE FUNCTION note_video();
ALTER TABLE video_video SET (autovacuum_enabled = off);  -- it moves rows, and so changes their order
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A video's row, as a write found or left it."""

    status: str
    leased_by: str  # '' without a lease
    leased_until: float | None  # seconds since the epoch; None for no lease
    processing_started_at: str | None  # as text; different for each claim
    error_reason: str | None
    file_key: str
    rest: str  # all other columns, JSON

    @property
    def handoff_token(self) -> str | None:
        """The token of its handoff; None without a handoff."""
        if self.status == "UPLOADED" and self.leased_by.startswith("reclaim:"):
            return self.leased_by.removeprefix("reclaim:")
        return None

    @property
    def identity(self) -> object:
        """What a wait depends on: status, claim and file."""
        return self.status, self.leased_by, self.leased_until, self.processing_started_at, self.file_key


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one row."""

    at: float
    who: str  # the writer's application name
    video: int
    before: Row | None  # None for an insert
    after: Row | None  # None for a delete
    invocation: str | None = None  # that of the product's function that wrote

    @property
    def step(self) -> str:
        """What the product did with the video; '' for somebody else's write."""
        before, after = self.before, self.after
        if self.who != PRODUCT or before is None or after is None:
            return ""
        if after.handoff_token is None:
            return "quarantined" if after.status == "FAILED" else "handoffs cleared"
        if before.handoff_token is not None:
            return "renewals" if before.handoff_token == after.handoff_token else "adoptions"
        return {"PROCESSING": "reclaims", "UPLOADED": "resends"}.get(before.status, "releases")

    def __str__(self) -> str:
        def brief(row: Row | None) -> str:
            return f"{row.status} by {row.leased_by!r} until {row.leased_until}" if row else "nothing"

        return f"{self.at:.3f} {self.invocation or self.who}: {brief(self.before)} -> {brief(self.after)}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded event: its kind and what belongs to this kind.

    Of the product's calls (``call``), the queue (``accepted``, ``received``, ``deleted``, ``dead``), the workers
    (``step``), the injected faults (``fault``) and the functions (``began``, ``ended``).
    """

    at: float  # when it was over, seconds since the epoch
    kind: str
    details: dict[str, Any]
    machine_at: float = 0.0  # the machine's clock

    def __str__(self) -> str:
        hidden = ("rows", "answers", "body", "commands")
        shown = {name: value for name, value in self.details.items() if name not in hidden}
        return f"{self.at:.3f} {self.kind} {shown}"


class Record:
    """Collects events from any thread.

    Attributes:
        events: each as it was noted.
        faults: number of faults, by kind.
        counts: number of actions, by kind.
        calm: no more faults are to be injected.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.events: list[Event] = []
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.calm = False
        self._now = now

    def note(self, kind: str, **details: Any) -> None:  # noqa: ANN401 - differs by kind
        """Record an event that is just over."""
        self.events.append(Event(self._now(), kind, details, time.time()))

    def tell(self, step: dict[str, Any]) -> None:
        """Record a step of a worker that is just over."""
        self.note("step", **step)

    def fault(self, fault: str, **details: Any) -> None:  # noqa: ANN401
        """Record and count a fault."""
        self.faults[fault] += 1
        self.note("fault", fault=fault, **details)

    def told(self) -> list[dict[str, Any]]:
        """Return the steps of all workers, as each was told."""
        return [event.details for event in self.events if event.kind == "step"]


def install(dsn: str) -> None:
    """Have the database record every write to ``video_video`` from now on."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_TRIGGER)


def gather(dsn: str, record: Record) -> list[Write | Event]:
    """Return all that the database and the record contain, in order, each with a time of its own."""
    found: list[tuple[float, Write | Event]] = [(event.machine_at, event) for event in record.events]
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT machine_at, at, who, video_id, before, after, invocation FROM history_of_videos ORDER BY seq"
        )
        for machine_at, at, who, video, before, after, invocation in cursor:
            found.append((machine_at, Write(at, who, video, _row(before), _row(after), invocation)))
    history: list[Write | Event] = []
    numbers = Counter[float]()
    for _, one in sorted(found, key=itemgetter(0)):
        numbers[one.at] += 1
        history.append(replace(one, at=one.at + numbers[one.at] / 1_000_000))
    return history


def _row(content: dict[str, Any] | None) -> Row | None:
    if content is None:
        return None
    names = ("status", "leased_by", "leased_until", "processing_started_at", "error_reason", "file_key")
    known = {name: content.pop(name) for name in names}
    if known["leased_until"] is not None:
        known["leased_until"] = datetime.fromisoformat(known["leased_until"]).timestamp()
    return Row(**known, rest=json.dumps(content, sort_keys=True))
