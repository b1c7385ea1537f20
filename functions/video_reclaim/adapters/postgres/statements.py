"""Every SQL statement of the product, by name.

Only ``status``, ``leased_by``, ``leased_until`` and, for a quarantined video, ``error_reason`` are ever written.
Each statement is a transaction of its own, and the clock is always the database's.
"""

import dataclasses

from video_reclaim.rules.platform import (
    HANDOFF_PREFIX,
    LECTURES,
    QUARANTINE_PREFIX,
    SESSIONS,
    TENANTS,
    VIDEOS,
    Column,
    Status,
)
from video_reclaim.rules.staleness import Video

_ID, _STATUS = f"v.{Column.ID}", f"v.{Column.STATUS}"
_LEASED_BY, _LEASED_UNTIL = f"v.{Column.LEASED_BY}", f"v.{Column.LEASED_UNTIL}"
_STARTED_AT = f"v.{Column.PROCESSING_STARTED_AT}"

_LEASE = f"ROW({_LEASED_BY}, {_LEASED_UNTIL}, {_STARTED_AT})::text"

_IN_HANDOFF = f"starts_with({_LEASED_BY}, '{HANDOFF_PREFIX}')"

# A worker on the older path may leave the lease columns as it found them. The term of the handoff lease then
# outlives the claim and says nothing about the worker. A handoff lease without a term is over: the platform saves
# whole rows, as they were read earlier.
_EXPIRED = f"""CASE WHEN {_IN_HANDOFF}
    THEN {_STATUS} = '{Status.UPLOADED}' AND coalesce({_LEASED_UNTIL} < now(), true)
    ELSE {_LEASED_UNTIL} < now() END"""

# A claim sets its lease, of whole seconds, and its start from one reading of the clock, or from two within a
# millisecond. Otherwise the lease is an earlier claim's, which a worker on the older path left as it found it.
# Of numbers, since no times that are infinite, or too far apart, can be subtracted.
_TERM_S = f"(date_part('epoch', {_LEASED_UNTIL}) - date_part('epoch', {_STARTED_AT}))"
_LEASED_BY_CLAIM = f"abs({_TERM_S} - round({_TERM_S})) < 0.001"

_ORPHANED = f"{_STATUS} = '{Status.UPLOADED}' AND {_IN_HANDOFF} AND coalesce({_LEASED_UNTIL} < now(), true)"

# The status as an expression that no index serves, where rows are found by their ids; likewise the terms in
# CLEAR_HANDOFFS. In a mass reclaim the planner's statistics lag behind and know of hardly any UPLOADED row.
# By the index on status each batch would then read all rows that the batches before it reclaimed (ADR 10).
_UNINDEXED_STATUS = f"({_STATUS} || '')"

_QUARANTINED = (
    f"({_UNINDEXED_STATUS} = '{Status.FAILED}'"
    f" AND starts_with(coalesce(v.{Column.ERROR_REASON}, ''), '{QUARANTINE_PREFIX}'))"
)

_VIDEO = f"""
{_ID}, {_STATUS}, t.id AS tenant_id, {_LEASED_BY}, {_LEASE} AS lease, left(md5(v.{Column.FILE_KEY}), 12) AS upload,
coalesce({_EXPIRED}, false) AS lease_expired, {_QUARANTINED} AS quarantined, date_part('epoch', now()) AS now_s,
date_part('epoch', {_STARTED_AT}) AS started_s,
coalesce({_LEASED_BY_CLAIM}, false) AS leased_by_claim
"""

_VIDEO_AND_TENANT = f"""
{VIDEOS} v
LEFT JOIN {SESSIONS} s ON s.id = v.{Column.SESSION_ID}
LEFT JOIN {LECTURES} l ON l.id = s.lecture_id
LEFT JOIN {TENANTS} t ON t.id = l.tenant_id
"""

# The columns of `_VIDEO`, which are the fields of `rules.staleness.Video`.
_COLUMNS = ", ".join(field.name for field in dataclasses.fields(Video))

# Every video that may be stuck: all in PROCESSING, by the index on status; the orphans of crashed runs, by an
# index on status or on leased_until; and those that wait for a worker, by the index on status, whose messages
# may be lost. The waiting ones come first, since they are judged together, then the oldest claim.
LIST_CANDIDATES = f"""
SELECT {_COLUMNS} FROM (
    SELECT 2 AS part, {_STARTED_AT}, {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE {_STATUS} = '{Status.PROCESSING}'
    UNION ALL
    SELECT 2 AS part, {_STARTED_AT}, {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE {_ORPHANED}
    UNION ALL
    (SELECT 1 AS part, {_STARTED_AT}, {_VIDEO} FROM {_VIDEO_AND_TENANT}
     WHERE {_STATUS} = '{Status.UPLOADED}' AND NOT {_IN_HANDOFF} ORDER BY {_ID} LIMIT %(max_waiting)s)
) AS candidate
ORDER BY part, {Column.PROCESSING_STARTED_AT} NULLS FIRST, {Column.ID}
LIMIT %(max_rows)s
"""

# The same columns for the videos of one batch, in whatever status they are now.
READ_VIDEOS = f"SELECT {_VIDEO} FROM {_VIDEO_AND_TENANT} WHERE {_ID} = ANY(%(ids)s) ORDER BY {_ID}"

# Rows that are still as they were read. They are locked in the order of their ids, so that two executions can't
# deadlock; a row that somebody else has locked is skipped. One JSON text is quicker to write and to parse than an
# array of as many literals.
_FENCED = f"""
WITH fenced AS (
    SELECT {_ID} FROM {VIDEOS} v
    JOIN json_each_text(%(rows)s) AS seen (id, "row") ON seen.id::bigint = {_ID}
    WHERE {_STATUS} || ' ' || {_LEASE} = seen."row"
      AND ({_UNINDEXED_STATUS} IN ('{Status.PROCESSING}', '{Status.UPLOADED}') OR {_QUARANTINED})
    ORDER BY {_ID}
    FOR UPDATE OF v SKIP LOCKED
)
"""

# Reclaim: UPLOADED, under a handoff lease until the message is in the queue. A release ends our quarantine.
LEASE_FOR_HANDOFF = f"""{_FENCED}
UPDATE {VIDEOS} v
SET {Column.STATUS} = '{Status.UPLOADED}', {Column.LEASED_BY} = %(holder)s,
    {Column.LEASED_UNTIL} = now() + make_interval(secs => %(handoff_s)s),
    {Column.ERROR_REASON} = CASE WHEN {_QUARANTINED} THEN NULL ELSE v.{Column.ERROR_REASON} END
FROM fenced WHERE {_ID} = fenced.id
RETURNING {_ID}
"""

# Give up videos that were reclaimed too often.
QUARANTINE = f"""{_FENCED}
UPDATE {VIDEOS} v
SET {Column.STATUS} = '{Status.FAILED}', {Column.LEASED_BY} = '', {Column.LEASED_UNTIL} = NULL,
    {Column.ERROR_REASON} = because.reason
FROM fenced
JOIN json_each_text(%(reasons)s) AS because (id, reason) ON because.id::bigint = fenced.id
WHERE {_ID} = fenced.id
RETURNING {_ID}
"""

_TOKEN = f"{_ID} = ANY(%(ids)s) AND {_LEASED_BY} = %(holder)s"
_OWN = f"{_TOKEN} AND {_UNINDEXED_STATUS} = '{Status.UPLOADED}'"

# What a message needs, for the videos that still carry the token. A handoff lease that could expire while the
# messages are being sent is renewed first; a video that another execution adopts meanwhile is left out, and
# so is one whose row somebody else has locked: the next run adopts it.
READ_HANDOFFS = f"""
WITH short AS (
    SELECT {_ID} FROM {VIDEOS} v
    WHERE {_OWN} AND {_LEASED_UNTIL} - make_interval(secs => %(handoff_s)s / 2.0) < now()
    FOR UPDATE OF v SKIP LOCKED
), renewed AS (
    UPDATE {VIDEOS} v SET {Column.LEASED_UNTIL} = now() + make_interval(secs => %(handoff_s)s)
    FROM short WHERE {_ID} = short.id
    RETURNING {_ID}, {_LEASED_UNTIL}
)
SELECT {_ID} AS video_id, v.{Column.FILE_KEY} AS file_key, t.id AS tenant_id, t.code AS tenant_code,
       coalesce(renewed.{Column.LEASED_UNTIL}, {_LEASED_UNTIL})::text AS handoff_until
FROM {VIDEOS} v
LEFT JOIN renewed ON renewed.id = {_ID}
JOIN {SESSIONS} s ON s.id = v.{Column.SESSION_ID}
JOIN {LECTURES} l ON l.id = s.lecture_id
JOIN {TENANTS} t ON t.id = l.tenant_id
WHERE {_OWN}
  AND ({_LEASED_UNTIL} - make_interval(secs => %(handoff_s)s / 2.0) >= now()
       OR renewed.id IS NOT NULL)
ORDER BY {_ID}
"""

# The handoffs that were read, unless a worker has put its own lease in their place. The terms tell them from later
# handoffs of the same execution, whose messages are not sent yet: a later handoff ends later than any that was
# read before it, so the terms need not be matched video by video. A worker on the older path, which sets no lease,
# may have claimed the video already. If the token stayed, the video would look like an orphan as soon as a user
# makes it UPLOADED again.
_READ_BEFORE = f"""{_TOKEN} AND {_UNINDEXED_STATUS} IN ('{Status.UPLOADED}', '{Status.PROCESSING}')
  AND {_LEASED_UNTIL} + interval '0' = ANY(%(untils)s::timestamptz[])"""

# End the handoff of the videos whose messages SQS accepted. Rows that somebody else has locked are skipped.
CLEAR_HANDOFFS = f"""
WITH unlocked AS (SELECT {_ID} FROM {VIDEOS} v WHERE {_READ_BEFORE} ORDER BY {_ID} FOR UPDATE OF v SKIP LOCKED)
UPDATE {VIDEOS} v SET {Column.LEASED_BY} = '', {Column.LEASED_UNTIL} = NULL
FROM unlocked WHERE {_ID} = unlocked.id
RETURNING {_ID}
"""

# Of these handoffs, those that are still to be cleared.
READ_UNCLEARED = f"SELECT {_ID} FROM {VIDEOS} v WHERE {_READ_BEFORE}"

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
SELECT {_STATUS}, t.id IS NOT NULL AS has_tenant,
       CASE WHEN {_STATUS} = '{Status.PROCESSING}' AND {_LEASED_BY_CLAIM}
            THEN substring({_LEASED_BY} FROM '^i-[0-9a-f]+') END AS instance,
       count(*)
FROM {VIDEOS} v
LEFT JOIN {SESSIONS} s ON s.id = v.{Column.SESSION_ID} AND {_STATUS} = '{Status.PROCESSING}'
LEFT JOIN {LECTURES} l ON l.id = s.lecture_id
LEFT JOIN {TENANTS} t ON t.id = l.tenant_id
WHERE {_STATUS} IN ('{Status.UPLOADED}', '{Status.PROCESSING}')
GROUP BY 1, 2, 3
"""
