"""What happened, in order: every write of every party, every message, every call and fault of the product.

Writes are recorded by a trigger in the database itself, so that nobody can forget to tell. The rest is told
to a `Record` as it happens. All times are the machine's clock, which all parties share.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

PRODUCT = "video-reclaim"
"""The product's ``application_name``."""

_TRIGGER = """
CREATE TABLE history_of_videos (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at double precision NOT NULL, transaction_at double precision NOT NULL,
    who text NOT NULL, video_id bigint NOT NULL, before jsonb NULL, after jsonb NULL
);
CREATE FUNCTION note_video() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_of_videos (at, transaction_at, who, video_id, before, after) VALUES (
        date_part('epoch', clock_timestamp()), date_part('epoch', now()),
        current_setting('application_name'), coalesce(NEW.id, OLD.id), to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER note_video AFTER INSERT OR UPDATE OR DELETE ON video_video
FOR EACH ROW EXECUTE FUNCTION note_video();
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A video as a write left it or found it.

    Attributes:
        status: its status.
        leased_by: '' for nobody.
        leased_until: seconds since the epoch; None for no lease.
        processing_started_at: as the database words it; tells one claim from the next.
        error_reason: why it failed.
        rest: every other column.
    """

    status: str
    leased_by: str
    leased_until: float | None
    processing_started_at: str | None
    error_reason: str | None
    rest: str

    @property
    def handoff_token(self) -> str | None:
        """The token under which it is on its way to the queue; None if it is not."""
        if self.status == "UPLOADED" and self.leased_by.startswith("reclaim:"):
            return self.leased_by.removeprefix("reclaim:")
        return None


@dataclass(frozen=True, slots=True)
class Write:
    """One row written once.

    Attributes:
        seq: place in the order of all writes; the writes of one video are in the order of their commits.
        at: when.
        transaction_at: the ``now()`` by which its transaction judged.
        who: the writer's application name.
        video: its id.
        before: the row it found; None for an insert.
        after: the row it left; None for a delete.
    """

    seq: int
    at: float
    transaction_at: float
    who: str
    video: int
    before: Row | None
    after: Row | None

    def __str__(self) -> str:
        def brief(row: Row | None) -> str:
            return f"{row.status} by {row.leased_by!r} until {row.leased_until}" if row else "nothing"

        return f"{self.at:.3f} {self.who}: {brief(self.before)} -> {brief(self.after)}"


@dataclass(frozen=True, slots=True)
class Event:
    """Something told.

    Attributes:
        at: when it was over.
        kind: what it was.
        details: the rest.
    """

    at: float
    kind: str
    details: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.kind} {self.details}"


class Record:
    """Collects events from any thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def note(self, kind: str, **details: Any) -> None:  # noqa: ANN401 - whatever there is to tell
        """Write down what has just happened."""
        with self._lock:
            self.events.append(Event(time.time(), kind, details))


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of a run.

    Attributes:
        writes: of every party, in order.
        events: of the product's calls (``call``), the queue (``accepted``, ``received``, ``deleted``,
            ``dead``), the injected faults (``fault``) and the functions (``began``, ``ended``).
        workers: what the workers told, in order.
    """

    writes: list[Write]
    events: list[Event]
    workers: list[dict[str, Any]]


def install(dsn: str) -> None:
    """Have the database note every write to ``video_video`` from now on."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_TRIGGER)


def gather(dsn: str, record: Record, journal: Path | None = None) -> History:
    """Bring together what database, record and the workers' journal know."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq, at, transaction_at, who, video_id, before, after FROM history_of_videos ORDER BY seq"
        )
        writes = [
            Write(seq, at, transaction_at, who, video, _row(before), _row(after))
            for seq, at, transaction_at, who, video, before, after in cursor
        ]
    told = list(_lines(journal)) if journal is not None and journal.exists() else []
    events = sorted(record.events, key=lambda event: event.at)
    return History(writes, events, sorted(told, key=lambda event: event["at"]))


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    for line in journal.read_text().splitlines():
        yield json.loads(line)


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
