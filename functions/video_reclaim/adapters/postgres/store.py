"""The platform's videos: what the functions read and write of them."""

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from video_reclaim.adapters.postgres import statements
from video_reclaim.adapters.postgres.session import Session
from video_reclaim.errors import RowRefused
from video_reclaim.rules.platform import HANDOFF_PREFIX, Job
from video_reclaim.rules.reclaiming import Written
from video_reclaim.rules.staleness import Video
from video_reclaim.rules.waiting import MAX_TRACKED
from video_reclaim.settings import Database, read

CANDIDATES_A_PAGE = 10_000
"""So many rows are held at a time: a few megabytes."""

_LOCKED_ROW_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_RENEWED_ROW_WAITS_S = (0.2, 0.6, 1.2)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The videos that wait or are being encoded.

    Attributes:
        uploaded: number of videos in UPLOADED.
        processing: number of videos in PROCESSING.
    """

    uploaded: int
    processing: int


class Store:
    """The database, over one connection that is opened on first use and again after it was lost."""

    def __init__(self, settings: Database) -> None:
        self._session = Session(settings)

    def list_candidates(self, *, page: int = CANDIDATES_A_PAGE) -> Generator[list[Video], None, None]:
        """Yield all videos that may be stuck, in pages; those that wait, at most 10,000, are all on the first.

        Behind them comes the oldest claim first. One page takes one round trip; more are read through a cursor,
        from one snapshot.

        Raises:
            StoreUnavailable, StoreRefused: the rest was not read.
        """
        statement, parameters = statements.LIST_CANDIDATES, {"max_waiting": min(page, MAX_TRACKED)}
        rows = self._session.fetch_again_if_lost(statement, {**parameters, "max_rows": page + 1})
        if len(rows) <= page:
            yield [Video(*row) for row in rows]
            return
        del rows
        for rows in self._session.fetch_pages(statement, {**parameters, "max_rows": None}, size=page):
            yield [Video(*row) for row in rows]

    def read_videos(self, video_ids: Sequence[int]) -> list[Video]:
        """Return these videos as they are now, by id; deleted ones are absent. Raises as `list_candidates`."""
        return [
            Video(*row)
            for row in self._session.fetch_again_if_lost(statements.READ_VIDEOS, {"ids": list(video_ids)})
        ]

    def read_ended(self, video_ids: Sequence[int]) -> list[int]:
        """Return the ids of those videos that are READY or deleted. Raises as `list_candidates`."""
        rows = self._session.fetch_again_if_lost(statements.READ_UNFINISHED, {"ids": list(video_ids)})
        unfinished = {row[0] for row in rows}
        return [video_id for video_id in video_ids if video_id not in unfinished]

    def lease_for_handoff(self, videos: Sequence[Video], *, token: str, handoff_s: int) -> Written:
        """Reclaim videos: UPLOADED, under a handoff lease of ``handoff_s`` seconds.

        A video that is no longer as read is left alone, unless its lease has expired all the same. A retry with
        the same token renews the lease. One row that PostgreSQL refuses never stops the others.

        Raises:
            StoreUnavailable: the outcome is unknown; any row written carries the token.
            StoreRefused: the statement was refused; nothing was written.
        """
        parameters = {"holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        return self._write(statements.LEASE_FOR_HANDOFF, videos, parameters)

    def quarantine(self, videos: Sequence[Video], reasons: Mapping[int, str]) -> Written:
        """Set videos to FAILED with a reason by id, under the same fence as `lease_for_handoff`."""
        return self._write(statements.QUARANTINE, videos, {"reasons": _json(reasons)})

    def read_handoffs(self, video_ids: Sequence[int], *, token: str, handoff_s: int) -> list[Job]:
        """Return the jobs of the videos that still carry the token.

        No other execution adopts them for at least half of ``handoff_s`` seconds from now. A row whose lease is to
        be renewed and that somebody else has locked is tried again for two seconds, then left to a later run.

        Raises:
            StoreUnavailable, StoreRefused: at most the term of some handoff leases has changed.
        """
        parameters = {"ids": list(video_ids), "holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        fetch = self._session.fetch_again_if_lost
        rows = fetch(statements.READ_HANDOFFS, parameters)
        for wait_s in _RENEWED_ROW_WAITS_S:
            left = sorted({*video_ids} - {row[0] for row in rows})
            if not left or not fetch(statements.READ_OWN, {**parameters, "ids": left}):
                break
            time.sleep(wait_s)
            rows += fetch(statements.READ_HANDOFFS, {**parameters, "ids": left})
        return [Job(*row) for row in rows]

    def clear_handoffs(self, jobs: Sequence[Job], *, token: str) -> Written:
        """End the handoffs of these jobs that are still as they were read.

        Rows that somebody else has locked are tried again for a few seconds. A video that stays locked, or whose
        row PostgreSQL refuses, keeps its token: a later run adopts it and sends a second message for this one
        video. A lost connection is opened again once.

        Raises:
            StoreUnavailable: the videos may still carry the token and may be sent again, which makes duplicate
                messages; none is lost.
        """
        untils = sorted({job.handoff_until for job in jobs})
        parameters = {"untils": untils, "holder": HANDOFF_PREFIX + token}
        cleared = self._clear([job.video_id for job in jobs], parameters)
        for wait_s in _LOCKED_ROW_WAITS_S:
            left = [job.video_id for job in jobs if job.video_id not in {*cleared.ids, *cleared.refused}]
            unclear = {**parameters, "ids": left}
            if not left or not self._session.fetch_again_if_lost(statements.READ_UNCLEARED, unclear):
                break
            time.sleep(wait_s)
            cleared = _together([cleared, self._clear(left, parameters)])
        return cleared

    def _clear(self, ids: Sequence[int], parameters: Mapping[str, object]) -> Written:
        try:
            given = {**parameters, "ids": list(ids)}
            rows = self._session.fetch_again_if_lost(statements.CLEAR_HANDOFFS, given)
            return Written([row[0] for row in rows])
        except RowRefused as exc:
            if len(ids) == 1:
                return Written(refused={ids[0]: str(exc)})
        # One of the rows was refused: find out which.
        return _together(self._clear([video_id], parameters) for video_id in ids)

    def measure_backlog(self) -> Backlog:
        """Count the videos that wait or are being encoded. Raises StoreUnavailable, StoreRefused."""
        return Backlog(*self._session.fetch_again_if_lost(statements.MEASURE_BACKLOG, {})[0])

    def _write(self, statement: str, videos: Sequence[Video], parameters: Mapping[str, object]) -> Written:
        if not videos:
            return Written()
        read = _json({video.id: video.row for video in videos})
        try:
            rows = self._session.fetch(statement, {**parameters, "rows": read})
            return Written([row[0] for row in rows])
        except RowRefused as exc:
            if len(videos) == 1:
                return Written(refused={videos[0].id: str(exc)})
        # One of the rows was refused: find out which.
        return _together(self._write(statement, [video], parameters) for video in videos)


def _together(written: Iterable[Written]) -> Written:
    """Add up the results of several writes."""
    result = Written()
    for one in written:
        result.ids.extend(one.ids)
        result.refused.update(one.refused)
    return result


def _json(by_id: Mapping[int, str]) -> str:
    return json.dumps(by_id, ensure_ascii=False)  # a database in another encoding may reject the escapes


@cache
def store() -> Store:
    """Return the database that the environment names. Raises InvalidSetting."""
    return Store(read(Database))
