"""The platform's videos: what the functions read and write of them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from video_reclaim.adapters.postgres import statements
from video_reclaim.adapters.postgres.session import Session
from video_reclaim.errors import RowRefused, StoreRefused
from video_reclaim.rules.listing import MAX_LISTED
from video_reclaim.rules.platform import HANDOFF_PREFIX, Job, Status
from video_reclaim.rules.reclaiming import Written
from video_reclaim.rules.staleness import Video
from video_reclaim.rules.waiting import MAX_WAITING
from video_reclaim.settings import Database, read

_LOCKED_ROW_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 0.0)  # after each try; nothing follows the last one


@dataclass(frozen=True, slots=True)
class Backlog:
    """The numbers of videos in UPLOADED and PROCESSING."""

    uploaded: int
    processing: int
    stranded: int = 0  # of those in PROCESSING: without a tenant, so they can never be put back
    by_instance: Mapping[str, int] = field(default_factory=dict)  # of the others, where known


class Store:
    """The database, over one connection that is opened on first use and again after it was lost."""

    def __init__(self, settings: Database) -> None:
        self._session = Session(settings)

    def list_candidates(self) -> list[Video]:
        """Return up to 50,000 videos that may be stuck: those that wait, at most 10,000, then the oldest claim first.

        Raises StoreUnavailable, StoreRefused.
        """
        most = {"max_waiting": MAX_WAITING, "max_rows": MAX_LISTED}
        return [Video(**row) for row in self._session.fetch(statements.LIST_CANDIDATES, most)]

    def read_videos(self, video_ids: Sequence[int]) -> list[Video]:
        """Return these videos as they are now, by id; deleted ones are absent."""
        rows = self._session.fetch(statements.READ_VIDEOS, {"ids": list(video_ids)})
        return [Video(**row) for row in rows]

    def lease_for_handoff(self, videos: Sequence[Video], *, token: str, handoff_s: int) -> Written:
        """Reclaim videos: UPLOADED, under a handoff lease of ``handoff_s`` seconds.

        A video that is no longer as read is left alone. A retry with the same token renews the lease. One row that
        PostgreSQL refuses never stops the others.

        Raises:
            StoreUnavailable: the outcome is unknown; any row written carries the token.
            StoreRefused: the statement was refused; nothing was written.
        """
        parameters = {"holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        return self._write(statements.LEASE_FOR_HANDOFF, _as_read(videos), parameters)

    def quarantine(self, videos: Sequence[Video], reasons: Mapping[int, str]) -> Written:
        """Set videos to FAILED with a reason by id, under the same fence as `lease_for_handoff`."""
        return self._write(statements.QUARANTINE, _as_read(videos), {"reasons": _json(reasons)})

    def read_handoffs(self, video_ids: Sequence[int], *, token: str, handoff_s: int) -> list[Job]:
        """Return the jobs of the videos that still carry the token.

        No other execution adopts them for at least half of ``handoff_s`` seconds from now. A row whose lease is to
        be renewed and that somebody else has locked is left to a later run.

        Raises:
            StoreUnavailable, StoreRefused: at most the term of some handoff leases has changed.
        """
        parameters = {"ids": list(video_ids), "holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        return [Job(**row) for row in self._session.fetch(statements.READ_HANDOFFS, parameters)]

    def clear_handoffs(self, jobs: Sequence[Job], *, token: str) -> Written:
        """End the handoffs of these jobs that are still as they were read.

        Rows that somebody else has locked are tried again for a few seconds. A row that stays locked, or that
        PostgreSQL refuses, keeps its token: a later run adopts the video and sends a second message.

        Raises:
            StoreUnavailable: the videos may still carry the token; none is lost, and each may be sent again.
        """
        left, cleared = {job.video_id: job.handoff_until for job in jobs}, Written()
        parameters = {"untils": sorted(set(left.values())), "holder": HANDOFF_PREFIX + token}
        for wait_s in _LOCKED_ROW_WAITS_S:
            cleared += self._write(statements.CLEAR_HANDOFFS, left, parameters, once=False)
            done = {*cleared.ids, *cleared.refused}
            left = {video_id: until for video_id, until in left.items() if video_id not in done}
            unclear = {**parameters, "ids": list(left)}
            if not left or not self._session.fetch(statements.READ_UNCLEARED, unclear):
                break
            time.sleep(wait_s)
        return cleared

    def measure_backlog(self) -> Backlog:
        """Count the videos that wait or are being encoded. Raises StoreUnavailable, StoreRefused."""
        rows = self._session.fetch(statements.MEASURE_BACKLOG, {})
        held = [row for row in rows if row["status"] == Status.PROCESSING]
        known = [row for row in held if row["has_tenant"]]
        processing = sum(row["count"] for row in held)
        return Backlog(
            uploaded=sum(row["count"] for row in rows if row["status"] == Status.UPLOADED),
            processing=processing,
            stranded=processing - sum(row["count"] for row in known),
            by_instance={row["instance"]: row["count"] for row in known if row["instance"]},
        )

    def _write(
        self,
        statement: str,
        rows: Mapping[int, str],
        parameters: Mapping[str, object],
        *,
        once: bool = True,
    ) -> Written:
        """Write rows, given as they were read; if PostgreSQL refuses, write them one by one.

        Raises StoreRefused if all were refused, and not for their data.
        """

        def write(some: Mapping[int, str]) -> Written:
            given = {**parameters, "ids": list(some), "rows": _json(some)}
            return Written([row["id"] for row in self._session.fetch(statement, given, once=once)])

        try:
            return write(rows) if rows else Written()
        except StoreRefused as refusal:
            if len(rows) == 1 and isinstance(refusal, RowRefused):
                return Written(refused=dict.fromkeys(rows, str(refusal)))
            result = Written()
            for video_id, row in rows.items():
                try:
                    result += write({video_id: row})
                except StoreRefused as exc:
                    result += Written(refused={video_id: str(exc)})
            if len(result.refused) == len(rows) and not isinstance(refusal, RowRefused):
                raise
            return result


def _as_read(videos: Sequence[Video]) -> dict[int, str]:
    return {video.id: video.row for video in videos}


def _json(by_id: Mapping[int, str]) -> str:
    return json.dumps(by_id, ensure_ascii=False)  # a database in another encoding may reject the escapes


@cache
def store() -> Store:
    """Return the database that the environment names. Raises InvalidSetting."""
    return Store(read(Database))
