"""Every SQL statement of the product, by name.

Only ``status``, ``leased_by``, ``leased_until`` and, for a quarantined video, ``error_reason`` are ever written.
Each statement is a transaction of its own, and the clock is always the database's.
"""

from msgspec import structs

from video_reclaim.rules.platform import HANDOFF_PREFIX, QUARANTINE_PREFIX
from video_reclaim.rules.staleness import Video

_LEASE = "ROW(v.leased_by, v.leased_until, v.processing_started_at)::text"

_IN_HANDOFF = f"starts_with(v.leased_by, '{HANDOFF_PREFIX}')"

# A worker on the older path may leave the lease columns as it found them. The term of the handoff lease then
# outlives the claim and says nothing about the worker. A handoff lease without a term is over: the platform saves
# whole rows, as they were read earlier.
_EXPIRED = f"""CASE WHEN {_IN_HANDOFF}
    THEN v.status = 'UPLOADED' AND coalesce(v.leased_until < now(), true)
    ELSE v.leased_until < now() END"""

# A claim sets its lease, of whole seconds, and its start from one reading of the clock, or from two within a
# millisecond. Otherwise the lease is an earlier claim's, which a worker on the older path left as it found it.
# Of numbers, since no times that are infinite, or too far apart, can be subtracted.
_TERM_S = "(date_part('epoch', v.leased_until) - date_part('epoch', v.processing_started_at))"
_LEASED_BY_CLAIM = f"abs({_TERM_S} - round({_TERM_S})) < 0.001"

_ORPHANED = f"v.status = 'UPLOADED' AND {_IN_HANDOFF} AND coalesce(v.leased_until < now(), true)"

# The status as an expression that no index serves, where rows are found by their ids; likewise the terms in
# CLEAR_HANDOFFS. In a mass reclaim the planner's statistics lag behind and know of hardly any UPLOADED row.
# By the index on status each batch would then read all rows that the batches before it reclaimed (ADR 10).
_UNINDEXED_STATUS = "(v.status || '')"

_QUARANTINED = (
    f"({_UNINDEXED_STATUS} = 'FAILED' AND starts_with(coalesce(v.error_reason, ''), '{QUARANTINE_PREFIX}'))"
)

_VIDEO = f"""
v.id, v.status, t.id AS tenant_id, v.leased_by, {_LEASE} AS lease, left(md5(v.file_key), 12) AS upload,
coalesce({_EXPIRED}, false) AS lease_expired, {_QUARANTINED} AS quarantined, date_part('epoch', now()) AS now_s,
date_part('epoch', v.processing_started_at) AS started_s,
coalesce({_LEASED_BY_CLAIM}, false) AS leased_by_claim
"""

_VIDEO_AND_TENANT = """
video_video v
LEFT JOIN lectures_session s ON s.id = v.session_id
LEFT JOIN lectures_lecture l ON l.id = s.lecture_id
LEFT JOIN core_tenant t ON t.id = l.tenant_id
"""

# The columns of `_VIDEO`, which are the fields of `rules.staleness.Video`.
_COLUMNS = ", ".join(field.name for field in structs.fields(Video))

# Every video that may be stuck: all in PROCESSING, by the index on status; the orphans of crashed runs, by an
# index on status or on leased_until; and those that wait for a worker, by the index on status, whose messages
# may be lost. The waiting ones come first, since they are judged together, then the oldest claim.
LIST_CANDIDATES = f"""
SELECT {_COLUMNS} FROM (
    SELECT 2 AS part, v.processing_started_at, {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE v.status = 'PROCESSING'
    UNION ALL
    SELECT 2 AS part, v.processing_started_at, {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE {_ORPHANED}
    UNION ALL
    (SELECT 1 AS part, v.processing_started_at, {_VIDEO} FROM {_VIDEO_AND_TENANT}
     WHERE v.status = 'UPLOADED' AND NOT {_IN_HANDOFF} ORDER BY v.id LIMIT %(max_waiting)s)
) AS candidate
ORDER BY part, processing_started_at NULLS FIRST, id
LIMIT %(max_rows)s
"""

# The same columns for the videos of one batch, in whatever status they are now.
READ_VIDEOS = f"SELECT {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE v.id = ANY(%(ids)s) ORDER BY v.id"

# Rows that are still as they were read. They are locked in the order of their ids, so that two executions can't
# deadlock; a row that somebody else has locked is skipped. One JSON text is quicker to write and to parse than an
# array of as many literals.
_FENCED = f"""
WITH fenced AS (
    SELECT v.id FROM video_video v
    JOIN json_each_text(%(rows)s) AS seen (id, "row") ON seen.id::bigint = v.id
    WHERE v.status || ' ' || {_LEASE} = seen."row"
      AND ({_UNINDEXED_STATUS} IN ('PROCESSING', 'UPLOADED') OR {_QUARANTINED})
    ORDER BY v.id
    FOR UPDATE OF v SKIP LOCKED
)
"""

# Reclaim: UPLOADED, under a handoff lease until the message is in the queue. A release ends our quarantine.
LEASE_FOR_HANDOFF = f"""{_FENCED}
UPDATE video_video v
SET status = 'UPLOADED', leased_by = %(holder)s,
    leased_until = now() + make_interval(secs => %(handoff_s)s),
    error_reason = CASE WHEN {_QUARANTINED} THEN NULL ELSE v.error_reason END
FROM fenced WHERE v.id = fenced.id
RETURNING v.id
"""

# Give up videos that were reclaimed too often.
QUARANTINE = f"""{_FENCED}
UPDATE video_video v
SET status = 'FAILED', leased_by = '', leased_until = NULL,
    error_reason = because.reason
FROM fenced
JOIN json_each_text(%(reasons)s) AS because (id, reason) ON because.id::bigint = fenced.id
WHERE v.id = fenced.id
RETURNING v.id
"""

_TOKEN = "v.id = ANY(%(ids)s) AND v.leased_by = %(holder)s"
_OWN = f"{_TOKEN} AND {_UNINDEXED_STATUS} = 'UPLOADED'"

# What a message needs, for the videos that still carry the token. A handoff lease that could expire while the
# messages are being sent is renewed first; a video that another execution adopts meanwhile is left out, and
# so is one whose row somebody else has locked: the next run adopts it.
READ_HANDOFFS = f"""
WITH short AS (
    SELECT v.id FROM video_video v
    WHERE {_OWN} AND v.leased_until - make_interval(secs => %(handoff_s)s / 2.0) < now()
    FOR UPDATE OF v SKIP LOCKED
), renewed AS (
    UPDATE video_video v SET leased_until = now() + make_interval(secs => %(handoff_s)s)
    FROM short WHERE v.id = short.id
    RETURNING v.id, v.leased_until
)
SELECT v.id AS video_id, v.file_key AS file_key, t.id AS tenant_id, t.code AS tenant_code,
       coalesce(renewed.leased_until, v.leased_until)::text AS handoff_until
FROM video_video v
LEFT JOIN renewed ON renewed.id = v.id
JOIN lectures_session s ON s.id = v.session_id
JOIN lectures_lecture l ON l.id = s.lecture_id
JOIN core_tenant t ON t.id = l.tenant_id
WHERE {_OWN}
  AND (v.leased_until - make_interval(secs => %(handoff_s)s / 2.0) >= now()
       OR renewed.id IS NOT NULL)
ORDER BY v.id
"""

# The handoffs that were read, unless a worker has put its own lease in their place. The terms tell them from later
# handoffs of the same execution, whose messages are not sent yet: a later handoff ends later than any that was
# read before it, so the terms need not be matched video by video. A worker on the older path, which sets no lease,
# may have claimed the video already. If the token stayed, the video would look like an orphan as soon as a user
# makes it UPLOADED again.
_READ_BEFORE = f"""{_TOKEN} AND {_UNINDEXED_STATUS} IN ('UPLOADED', 'PROCESSING')
  AND v.leased_until + interval '0' = ANY(%(untils)s::timestamptz[])"""

# End the handoff of the videos whose messages SQS accepted. Rows that somebody else has locked are skipped.
CLEAR_HANDOFFS = f"""
WITH unlocked AS (SELECT v.id FROM video_video v WHERE {_READ_BEFORE} ORDER BY v.id FOR UPDATE OF v SKIP LOCKED)
UPDATE video_video v SET leased_by = '', leased_until = NULL
FROM unlocked WHERE v.id = unlocked.id
RETURNING v.id
"""

# Of these handoffs, those that are still to be cleared.
READ_UNCLEARED = f"SELECT v.id FROM video_video v WHERE {_READ_BEFORE}"

# Session settings: the statement timeout, a fixed form of times, since a claim is identified by its text, and
# statements that see what others have committed, whatever the role's default is.
# They are no connection options because RDS Proxy refuses these; a session with SET is pinned there (AWS,
# "Avoiding pinning an RDS Proxy").
SET_UP_SESSION = (
    "SET statement_timeout = %(statement_ms)s; SET timezone = 'UTC'; SET datestyle = 'ISO'; "
    "SET default_transaction_isolation = 'read committed'"
)

# The backlog by status, whether a row in PROCESSING has a tenant, and the instance that claimed it under its own
# lease (NULL if that is unknown). Found by an index that starts with the status.
MEASURE_BACKLOG = f"""
SELECT v.status, t.id IS NOT NULL AS has_tenant,
       CASE WHEN v.status = 'PROCESSING' AND {_LEASED_BY_CLAIM}
            THEN substring(v.leased_by FROM '^i-[0-9a-f]+') END AS instance,
       count(*)
FROM video_video v
LEFT JOIN lectures_session s ON s.id = v.session_id AND v.status = 'PROCESSING'
LEFT JOIN lectures_lecture l ON l.id = s.lecture_id
LEFT JOIN core_tenant t ON t.id = l.tenant_id
WHERE v.status IN ('UPLOADED', 'PROCESSING')
GROUP BY 1, 2, 3
"""
