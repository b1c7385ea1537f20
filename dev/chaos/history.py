"""The record of a run: every write to a video, every message, every call of the product, every fault.

Writes are recorded by a trigger in the database, so that none can be missed. The rest is noted in a `Record`
as it happens. All times are the schedule's, which stands still while somebody acts; the machine's clock tells the order
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

_TRIGGER = """
CREATE TABLE history_of_videos (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL, machine_at double precision NOT NULL,
    who text NOT NULL, video_id bigint NOT NULL, before jsonb NULL, after jsonb NULL
);
CREATE FUNCTION note_video() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_of_videos (at, machine_at, who, video_id, before, after) VALUES (
        date_part('epoch', now()), date_part('epoch', pg_catalog.clock_timestamp()),
        current_setting('application_name'), coalesce(NEW.id, OLD.id), to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER note_video AFTER INSERT OR UPDATE OR DELETE ON video_video
FOR EACH ROW EXECUTE FUNCTION note_video();
ALTER TABLE video_video SET (autovacuum_enabled = off);  -- it moves rows, and so changes their order
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A video's row, as a write found or left it."""

    status: str  # its status
    leased_by: str  # '' without a lease
    leased_until: float | None  # seconds since the epoch; None for no lease
    processing_started_at: str | None  # as text; different for each claim
    error_reason: str | None  # why it is FAILED
    rest: str  # all other columns, JSON

    @property
    def handoff_token(self) -> str | None:
        """The token of its handoff; None without a handoff."""
        if self.status == "UPLOADED" and self.leased_by.startswith("reclaim:"):
            return self.leased_by.removeprefix("reclaim:")
        return None


@dataclass(frozen=True, slots=True)
class Write:
    """One write to one row."""

    at: float  # when
    who: str  # the writer's application name
    video: int  # its id
    before: Row | None  # the row before; None for an insert
    after: Row | None  # the row after; None for a delete

    def __str__(self) -> str:
        def brief(row: Row | None) -> str:
            return f"{row.status} by {row.leased_by!r} until {row.leased_until}" if row else "nothing"

        return f"{self.at:.3f} {self.who}: {brief(self.before)} -> {brief(self.after)}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded event."""

    at: float  # when it was over, seconds since the epoch
    kind: str  # its kind; see `History`
    details: dict[str, Any]  # what belongs to this kind
    machine_at: float = 0.0  # the machine's clock


class Record:
    """Collects events from any thread.

    Attributes:
        events: those of `History`, each as it was noted.
        told: the steps of workers.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.events: list[Event] = []
        self.told: list[dict[str, Any]] = []
        self._now = now

    def note(self, kind: str, **details: Any) -> None:  # noqa: ANN401 - differs by kind
        """Record an event that is just over."""
        self.events.append(Event(self._now(), kind, details, time.time()))

    def tell(self, step: dict[str, Any]) -> None:
        """Record a step of a worker that is just over."""
        self.told.append({**step, "machine_at": time.time()})


@dataclass(frozen=True, slots=True)
class History:
    """Everything recorded of a run."""

    writes: list[Write]  # to videos, by all parties, in order
    # of the product's calls (``call``), the queue (``accepted``, ``received``, ``deleted``, ``dead``),
    # the injected faults (``fault``) and the functions (``began``, ``ended``)
    events: list[Event]
    workers: list[dict[str, Any]]  # the steps that workers reported, in order


def install(dsn: str) -> None:
    """Have the database record every write to ``video_video`` from now on."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_TRIGGER)


def gather(dsn: str, record: Record) -> History:
    """Return what the database and the record contain, each with a time of its own."""
    found: list[tuple[float, Any]] = [(event.machine_at, event) for event in record.events]
    found += [(told["machine_at"], told) for told in record.told]
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT machine_at, at, who, video_id, before, after FROM history_of_videos ORDER BY seq"
        )
        for machine_at, at, who, video, before, after in cursor:
            found.append((machine_at, Write(at, who, video, _row(before), _row(after))))
    history, numbers = History([], [], []), Counter[float]()
    for _, one in sorted(found, key=itemgetter(0)):
        moment = one["at"] if isinstance(one, dict) else one.at
        numbers[moment] += 1
        at = moment + numbers[moment] / 1_000_000
        if isinstance(one, dict):
            history.workers.append({**one, "at": at})
        else:
            (history.writes if isinstance(one, Write) else history.events).append(replace(one, at=at))
    return history


def _row(content: dict[str, Any] | None) -> Row | None:
    if content is None:
        return None
    known = {
        name: content.pop(name) for name in ("status", "leased_by", "processing_started_at", "error_reason")
    }
    until = content.pop("leased_until")
    return Row(**known, leased_until=_epoch(until), rest=json.dumps(content, sort_keys=True))


def _epoch(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
