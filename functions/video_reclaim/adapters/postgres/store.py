"""The platform's videos: what the functions read and write of them."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
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

_LOCKED_ROW_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)


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
        return self._session.fetch_records(Video, statements.LIST_CANDIDATES, most)

    def read_videos(self, video_ids: Sequence[int]) -> list[Video]:
        """Return these videos as they are now, by id; deleted ones are absent."""
        return self._session.fetch_records(Video, statements.READ_VIDEOS, {"ids": list(video_ids)})

    def lease_for_handoff(self, videos: Sequence[Video], *, token: str, handoff_s: int) -> Written:
        """Reclaim videos: UPLOADED, under a handoff lease of ``handoff_s`` seconds.

        A video that is no longer as read is left alone. A retry with the same token renews the lease. One row that
        PostgreSQL refuses never stops the others.

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
        be renewed and that somebody else has locked is left to a later run.

        Raises:
            StoreUnavailable, StoreRefused: at most the term of some handoff leases has changed.
        """
        parameters = {"ids": list(video_ids), "holder": HANDOFF_PREFIX + token, "handoff_s": handoff_s}
        return self._session.fetch_records(Job, statements.READ_HANDOFFS, parameters)

    def clear_handoffs(self, jobs: Sequence[Job], *, token: str) -> Written:
        """End the handoffs of these jobs that are still as they were read.

        Rows that somebody else has locked are tried again for a few seconds. A row that stays locked, or that
        PostgreSQL refuses, keeps its token: a later run adopts the video and sends a second message.

        Raises:
            StoreUnavailable: the videos may still carry the token; none is lost, and each may be sent again.
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
            cleared += self._clear(left, parameters)
        return cleared

    def _clear(self, ids: Sequence[int], parameters: Mapping[str, object]) -> Written:
        try:
            given = {**parameters, "ids": list(ids)}
            rows = self._session.fetch_again_if_lost(statements.CLEAR_HANDOFFS, given)
            return Written([row[0] for row in rows])
        except StoreRefused as exc:
            return _one_by_one(exc, list(ids), lambda video_id: self._clear([video_id], parameters))

    def measure_backlog(self) -> Backlog:
        """Count the videos that wait or are being encoded. Raises StoreUnavailable, StoreRefused."""
        rows = self._session.fetch_again_if_lost(statements.MEASURE_BACKLOG, {})
        held = [row[1:] for row in rows if row[0] == Status.PROCESSING]
        return Backlog(
            uploaded=sum(row[3] for row in rows if row[0] == Status.UPLOADED),
            processing=sum(count for _, _, count in held),
            stranded=sum(count for has_tenant, _, count in held if not has_tenant),
            by_instance={instance: count for has_tenant, instance, count in held if has_tenant and instance},
        )

    def _write(self, statement: str, videos: Sequence[Video], parameters: Mapping[str, object]) -> Written:
        if not videos:
            return Written()
        read = _json({video.id: video.row for video in videos})
        try:
            rows = self._session.fetch(statement, {**parameters, "rows": read})
            return Written([row[0] for row in rows])
        except StoreRefused as exc:
            by_id = {video.id: video for video in videos}
            return _one_by_one(exc, list(by_id), lambda id_: self._write(statement, [by_id[id_]], parameters))


def _one_by_one(refusal: StoreRefused, ids: Sequence[int], write: Callable[[int], Written]) -> Written:
    """Find out which of several rows were refused. Raises StoreRefused if all were, and not for their data."""
    if len(ids) == 1:
        if not isinstance(refusal, RowRefused):
            raise refusal
        return Written(refused={ids[0]: str(refusal)})
    result = Written()
    for video_id in ids:
        try:
            one = write(video_id)
        except StoreRefused as exc:
            one = Written(refused={video_id: str(exc)})
        result += one
    if len(result.refused) == len(ids) and not isinstance(refusal, RowRefused):
        raise refusal
    return result


def _json(by_id: Mapping[int, str]) -> str:
    return json.dumps(by_id, ensure_ascii=False)  # a database in another encoding may reject the escapes


@cache
def store() -> Store:
    """Return the database that the environment names. Raises InvalidSetting."""
    return Store(read(Database))
