"""Each protection of the protocol, how to take it away, and the test that fails without it.

`conftest` runs each of these tests once more without its protection, and expects it to fail. Readers find the
same table in `docs/protocol.md`.
"""

import uuid
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from unittest import mock

import list_stale_videos
import reclaim
from video_reclaim.adapters import sqs
from video_reclaim.adapters.postgres import statements
from video_reclaim.adapters.redis import heartbeats, values
from video_reclaim.rules import reclaiming, staleness, waiting
from video_reclaim.rules.listing import RedisLook
from video_reclaim.rules.reclaiming import History


def sql(name, *changes):
    """A statement with parts of it replaced."""
    statement = getattr(statements, name)
    for part, instead in changes:
        assert part in statement, f"{name} has changed: look again at what this takes away"
        statement = statement.replace(part, instead)
    return lambda: mock.patch.object(statements, name, statement)


def put(owner, name, value):
    return lambda: mock.patch.object(owner, name, value)


def sending_is_clearing(url, bodies, delays_s, send=sqs.send):
    sent = send(url, bodies, delays_s)
    sent.accepted = list(bodies)
    return sent


def missing_for_unknown(self, videos, claims):
    heartbeats = {video.id: staleness.Heartbeat(present=False) for video in videos}
    return History(heartbeats, seen_before=True)


class Anyone(str):
    """A lease that is the same as any other."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


def a_strike_against_anyone(value, parse=values.parse_strike):
    found = parse(value)
    return found and staleness.Strike(found.at_s, Anyone(found.lease))


def handed_over_to_anyone(video, heartbeat, criteria, judge=staleness.judge):
    if video.handoff_token:
        return staleness.Reason.ORPHANED
    return judge(video, heartbeat, criteria)


def a_stranger_to_itself(video, heartbeat, criteria, judge=staleness.judge):
    return judge(video, heartbeat, replace(criteria, own_token=None))


def the_first_miss_counts(_video, _strike, _criteria):
    return staleness.Reason.SILENT_TWICE


def believed(heartbeats, **_):
    return dict(heartbeats)


def by_the_wait_alone(due, _waits, _queue):
    return list(due)


def of_a_retry_unaware(videos, recorded, _just_retried, track=waiting.track):
    return track(videos, recorded, just_retried=())


def read_and_left(client, videos):
    """The waits of videos, which stay as they are."""
    ids = [str(video.id) for video in videos]
    found = client.pipeline().hmget(heartbeats.WAITING_KEY, ids).execute()[0] if ids else []
    waits = {video.id: values.parse_wait(value) for video, value in zip(videos, found, strict=True)}
    return {video_id: wait for video_id, wait in waits.items() if wait}


def without_limit(*given, plan=reclaiming.plan, **named):
    return plan(*given, **{**named, "max_reclaims": 0})


EXPIRED = statements._EXPIRED
SEEN = f"{statements._STATUS} || ' ' || {statements._LEASE} = seen.\"row\""
HOLDER = " AND v.leased_by = %(holder)s"
TERM = " AND v.leased_until + interval '0' = ANY(%(untils)s::timestamptz[])"
UPLOADED = f" AND {statements._UNINDEXED_STATUS} = 'UPLOADED'"
TAKEN = "leased_by = %(holder)s,\n    leased_until = now() + make_interval(secs => %(handoff_s)s)"


@dataclass(frozen=True)
class Protection:
    """What protects, how to take it away, and the test that must notice; which cases of it, if not all."""

    name: str
    removed: Callable
    test: str
    given: dict = field(default_factory=dict)
    also: Callable = nullcontext

    @contextmanager
    def taken_away(self):
        with self.removed(), self.also():
            yield


def order(scene, path="leased"):
    return {"scene": scene, "path": path}


ORDER = "test_every_order.py::test_no_order_loses_robs_or_repeats"
PROTECTIONS = [
    Protection(
        "second strike",
        put(staleness, "_judge_silence", the_first_miss_counts),
        "test_redis_misleads.py::test_a_flush_robs_nobody",
    ),
    Protection(
        "strike tied to the lease",
        put(values, "parse_strike", a_strike_against_anyone),
        "test_redis_misleads.py::test_a_strike_under_an_earlier_lease_counts_against_nobody",
    ),
    Protection(
        "Redis error is unknown",
        put(heartbeats.Heartbeats, "read_and_count", missing_for_unknown),
        "test_redis_misleads.py::test_a_redis_that_cannot_answer_says_nothing",
        {"failure": "unreachable"},
        put(
            heartbeats.Heartbeats,
            "look",
            lambda _self, videos: RedisLook(missing_for_unknown(None, videos, {}).heartbeats, seen_ttl_s=9),
        ),
    ),
    Protection(
        "only a Redis that has seen heartbeats counts",
        put(list_stale_videos, "credible", believed),
        "test_redis_misleads.py::test_a_redis_that_has_seen_no_heartbeat_robs_nobody",
        also=put(reclaiming, "credible", believed),
    ),
    Protection(
        "silence of all workers counts later",
        put(staleness.Hearing, "is_mass_silence", property(lambda _: False)),
        "test_redis_misleads.py::test_workers_that_cannot_reach_redis_keep_their_videos",
    ),
    Protection(
        "heartbeats looked at afresh",
        put(
            heartbeats.Heartbeats,
            "read_and_count",
            lambda _self, videos, _claims: History(
                {v.id: staleness.Heartbeat(False, staleness.Strike(0.0, v.lease)) for v in videos},
                seen_before=True,
            ),
        ),
        "test_redis_misleads.py::test_a_worker_that_beats_between_listing_and_reclaiming_keeps_its_video",
    ),
    Protection("fence", sql("LEASE_FOR_HANDOFF", (SEEN, "true")), ORDER, order("overlap")),
    Protection(
        "a handoff's term is no worker's lease",
        sql("LEASE_FOR_HANDOFF", (EXPIRED, "v.leased_until < now()")),
        "test_races.py::test_a_worker_without_a_lease_that_claims_before_the_clearing_is_not_robbed",
        also=sql("READ_VIDEOS", (EXPIRED, "v.leased_until < now()")),
    ),
    Protection(
        "handoff lease",
        sql("LEASE_FOR_HANDOFF", (TAKEN, "leased_by = '', leased_until = NULL")),
        ORDER,
        order("overlap"),
    ),
    Protection(
        "orphans are listed",
        sql("LIST_CANDIDATES", (statements._ORPHANED, "false")),
        "test_handoff.py::test_an_orphan_is_found_by_the_next_listing",
    ),
    Protection(
        "only orphans are adopted",
        put(reclaiming, "judge", handed_over_to_anyone),
        ORDER,
        order("overlap"),
    ),
    Protection(
        "own token is recognized",
        put(reclaiming, "judge", a_stranger_to_itself),
        "test_handoff.py::test_a_reclaim_whose_answer_is_lost_is_found_again_by_its_retry",
    ),
    Protection(
        "no waiting for locked rows",
        sql("LEASE_FOR_HANDOFF", (" SKIP LOCKED", "")),
        "test_races.py::test_a_locked_row_does_not_hold_up_the_others",
    ),
    Protection(
        "send only what carries the token",
        sql("READ_HANDOFFS", (HOLDER, "")),
        "test_handoff.py::TestRedriveDaysLater::test_leaves_alone_what_others_are_carrying",
    ),
    Protection(
        "term renewed before sending",
        sql(
            "READ_HANDOFFS",
            ("SET leased_until = now() + make_interval(secs => %(handoff_s)s)", "SET title = title"),
        ),
        "test_races.py::test_nobody_adopts_what_is_about_to_be_sent",
    ),
    Protection(
        "clear only what SQS accepted",
        put(sqs, "send", sending_is_clearing),
        "test_handoff.py::test_what_sqs_refuses_is_kept_and_sent_by_the_second_pass",
    ),
    Protection(
        "clear only what carries the token",
        sql("CLEAR_HANDOFFS", (HOLDER, ""), (TERM, "")),
        ORDER,
        order("overlap"),
    ),
    Protection(
        "clear only the very handoff", sql("CLEAR_HANDOFFS", (TERM, "")), ORDER, order("late functions")
    ),
    Protection(
        "clear only what nobody has claimed",
        sql("CLEAR_HANDOFFS", (UPLOADED, ""), (HOLDER, ""), (TERM, "")),
        "test_races.py::test_a_claim_between_sending_and_clearing_keeps_its_lease",
    ),
    Protection(
        "only reclaims are counted",
        put(reclaim, "claims_to_count", lambda videos, _: {v.id: f"{v.upload} {v.lease}" for v in videos}),
        "test_poison.py::test_a_queue_that_is_away_for_hours_quarantines_nothing",
    ),
    Protection(
        "a claim counts once",
        put(
            reclaim, "claims_to_count", lambda videos, _: {v.id: f"{v.upload} {uuid.uuid4()}" for v in videos}
        ),
        "test_poison.py::test_executions_that_overlap_count_a_stuck_claim_once",
    ),
    Protection(
        "counts of reclaims that did not happen are taken back",
        put(heartbeats.Heartbeats, "undo_counts", lambda *_: None),
        "test_poison.py::test_a_video_that_was_spared_is_not_counted",
    ),
    Protection(
        "limit to reclaims",
        put(reclaim, "plan", without_limit),
        "test_poison.py::test_the_limit_counts_reclaims_and_the_message_tells_which_attempt_it_is",
    ),
    Protection(
        "a message is lost only by the queue's evidence",
        put(list_stale_videos, "lost", by_the_wait_alone),
        "test_lost_messages.py::test_a_video_that_merely_waits_long_in_a_long_queue_is_not_sent_again",
    ),
    Protection(
        "a user's retry starts the wait again",
        put(list_stale_videos, "track", of_a_retry_unaware),
        "test_lost_messages.py::test_a_users_retry_starts_the_wait_again",
    ),
    Protection(
        "one execution takes a wait",
        put(heartbeats, "_take_waits", read_and_left),
        "test_lost_messages.py::test_two_executions_at_once_send_it_once",
    ),
    Protection(
        "messages delayed while workers drop them",
        put(heartbeats.Heartbeats, "prepare_jobs", lambda *_: {}),
        "test_handoff.py::test_a_message_is_sent_when_workers_do_not_drop_it_any_more",
    ),
    Protection(
        "locks of dead workers deleted",
        put(heartbeats, "job_lock_key", lambda video_id: f"another:{video_id}"),
        "test_handoff.py::test_the_lock_that_a_killed_worker_left_refuses_no_message",
    ),
]
