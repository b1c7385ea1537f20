"""Each protection of the protocol, how to take it away, and the test that fails without it.

`conftest` runs each of these tests once more without its protection, and expects it to fail. Readers find the
same table in `docs/protocol.md`.
"""

import uuid
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import list_stale_videos
import reclaim
from tests.protocol import removals
from tests.protocol.removals import put, sql
from video_reclaim.adapters import sqs
from video_reclaim.adapters.postgres import statements, store
from video_reclaim.adapters.redis import heartbeats, session, values
from video_reclaim.rules import reclaiming, staleness, waiting


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


ORDER, OVERLAP = (
    "test_every_order.py::test_no_order_of_steps_breaks_a_rule",
    {"scene": "overlap", "path": "leased"},
)
PROTECTIONS = [
    Protection(
        "second strike",
        put(staleness, "_judge_silence", removals.the_first_miss_counts),
        "test_redis_misleads.py::test_a_worker_keeps_its_video_when_redis_is_flushed",
    ),
    Protection(
        "a strike is void after three rounds without a look",
        put(list_stale_videos, "strike_memory_s", lambda _minutes: 86_400),
        "test_redis_misleads.py::test_a_strike_does_not_count_after_more_than_three_rounds_without_a_look",
    ),
    Protection(
        "strike tied to the lease",
        put(values, "parse_strike", removals.a_strike_against_anyone),
        "test_redis_misleads.py::test_a_strike_under_an_earlier_lease_does_not_count",
    ),
    Protection(
        "Redis error is unknown",
        put(heartbeats.Heartbeats, "read_and_count", removals.missing_for_unknown),
        "test_redis_misleads.py::test_silence_does_not_count_while_redis_does_not_answer",
        {"failure": "unreachable"},
        put(heartbeats.Heartbeats, "look", removals.missing_at_first_sight),
    ),
    Protection(
        "a heartbeat of another type is unknown",
        put(heartbeats, "read_heartbeats", removals.nil_is_missing),
        "test_redis_misleads.py::test_a_heartbeat_of_another_type_is_not_missing",
    ),
    Protection(
        "one key of another type harms nothing else",
        put(heartbeats, "execute", removals.the_first_error_counts),
        "test_redis_misleads.py::test_a_key_of_another_type_harms_no_other_video",
    ),
    Protection(
        "a demoted Redis is left at once",
        put(session.Session, "_drop", lambda _self: None),
        "test_redis_misleads.py::test_a_demoted_redis_is_disconnected_for_the_new_primary",
    ),
    Protection(
        "only a Redis that has seen heartbeats counts",
        put(list_stale_videos, "credible", removals.believed),
        "test_redis_misleads.py::test_a_worker_keeps_its_video_while_redis_has_seen_no_heartbeat",
        also=put(reclaiming, "credible", removals.believed),
    ),
    Protection(
        "silence of all workers counts later",
        put(staleness.Hearing, "is_mass_silence", property(lambda _: False)),
        "test_redis_misleads.py::test_workers_that_cannot_reach_redis_keep_their_videos",
    ),
    Protection(
        "an instance is gone only if the group answered",
        removals.an_unknown_group_is_empty,
        "test_worker_gone.py::test_a_group_that_does_not_answer_has_no_instance_gone",
    ),
    Protection(
        "an instance is gone only if the group has none such",
        put(list_stale_videos, "strikes_to_keep", removals.whoever_is_silent_is_gone),
        "test_worker_gone.py::test_a_worker_whose_instance_is_there_is_looked_at_twice",
    ),
    Protection(
        "an instance is gone only if the claim set the lease",
        put(staleness.Video, "instance", property(lambda video: staleness.instance_of(video.leased_by))),
        "test_worker_gone.py::test_an_instance_that_held_an_earlier_lease_is_not_that_of_a_worker_without_one",
    ),
    Protection(
        "heartbeats looked at afresh",
        put(heartbeats.Heartbeats, "read_and_count", removals.as_it_was_listed),
        "test_redis_misleads.py::test_a_worker_that_beats_between_listing_and_reclaiming_keeps_its_video",
    ),
    Protection("fence", sql("LEASE_FOR_HANDOFF", (removals.SEEN, "true")), ORDER, OVERLAP),
    Protection(
        "a handoff's term is no worker's lease",
        sql("LEASE_FOR_HANDOFF", (removals.EXPIRED, "v.leased_until < now()")),
        "test_races.py::test_a_worker_without_a_lease_keeps_its_video_when_an_uncleared_handoff_ends",
        also=sql("READ_VIDEOS", (removals.EXPIRED, "v.leased_until < now()")),
    ),
    Protection(
        "handoff lease",
        sql("LEASE_FOR_HANDOFF", (removals.TAKEN, "leased_by = '', leased_until = NULL")),
        ORDER,
        OVERLAP,
    ),
    Protection(
        "orphans are listed",
        sql("LIST_CANDIDATES", (statements._ORPHANED, "false")),
        "test_handoff.py::test_an_orphan_is_found_by_the_next_listing",
    ),
    Protection(
        "only orphans are adopted",
        put(reclaiming, "judge", removals.handed_over_to_anyone),
        ORDER,
        OVERLAP,
    ),
    Protection(
        "own token is recognized",
        put(reclaiming, "judge", removals.a_stranger_to_itself),
        "test_handoff.py::test_a_reclaim_whose_answer_is_lost_is_found_again_by_its_retry",
    ),
    Protection(
        "no waiting for locked rows",
        sql("LEASE_FOR_HANDOFF", (" SKIP LOCKED", "")),
        "test_races.py::test_a_locked_row_does_not_hold_up_the_others",
    ),
    Protection(
        "no waiting for locked rows in renewing",
        sql("READ_HANDOFFS", (" SKIP LOCKED", "")),
        "test_races.py::test_a_row_that_stays_locked_is_not_renewed_and_holds_up_no_other",
    ),
    Protection(
        "no waiting for locked rows in clearing",
        sql("CLEAR_HANDOFFS", (" SKIP LOCKED", "")),
        "test_races.py::test_a_row_that_stays_locked_keeps_its_token_and_holds_up_no_other",
    ),
    Protection(
        "send only what carries the token",
        sql("READ_HANDOFFS", (removals.HOLDER, "")),
        "test_handoff.py::TestRedriveDaysLater::test_leaves_alone_what_others_are_carrying",
    ),
    Protection(
        "term renewed before sending",
        sql(
            "READ_HANDOFFS",
            ("SET leased_until = now() + make_interval(secs => %(handoff_s)s)", "SET title = title"),
        ),
        "test_races.py::test_a_handoff_that_was_renewed_for_sending_is_not_adopted",
    ),
    Protection(
        "clear only what SQS accepted",
        put(sqs, "send", removals.sending_is_clearing),
        "test_handoff.py::test_what_sqs_refuses_is_kept_and_sent_by_the_second_pass",
    ),
    Protection(
        "clear only what carries the token",
        sql("CLEAR_HANDOFFS", (removals.HOLDER, ""), (removals.TERM, "")),
        ORDER,
        OVERLAP,
    ),
    Protection(
        "clear only the very handoff",
        sql("CLEAR_HANDOFFS", (removals.TERM, "")),
        ORDER,
        {**OVERLAP, "scene": "late functions"},
    ),
    Protection(
        "clear what a worker without a lease has claimed",
        sql("CLEAR_HANDOFFS", (removals.READ_BEFORE, removals.READ_BEFORE + removals.UPLOADED)),
        "test_races.py::test_a_claim_without_a_lease_before_the_clearing_leaves_no_token_behind",
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
        "test_poison.py::test_a_video_that_was_not_reclaimed_is_not_counted",
    ),
    Protection(
        "limit to reclaims",
        put(reclaim, "plan", removals.without_limit),
        "test_poison.py::test_the_limit_counts_reclaims_and_the_message_tells_which_attempt_it_is",
    ),
    Protection(
        "a count belongs to one upload",
        sql("READ_VIDEOS", ("left(md5(v.file_key), 12)", "'any'")),
        "test_poison.py::test_a_new_upload_starts_the_count_again",
    ),
    Protection(
        "a count ends when the video is READY",
        put(store.Store, "read_ended", lambda *_: []),
        "test_poison.py::test_a_video_that_was_done_in_between_starts_the_count_again",
    ),
    Protection(
        "a count ends with the quarantine",
        put(heartbeats.Heartbeats, "end_counts", lambda *_: None),
        "test_poison.py::test_a_retry_by_hand_starts_the_count_again",
    ),
    Protection(
        "a quarantine deletes the cached status",
        put(heartbeats.Heartbeats, "forget_status", lambda *_: None),
        "test_poison.py::test_users_are_shown_that_a_video_was_quarantined",
    ),
    Protection(
        "only our own quarantine is released",
        sql("LEASE_FOR_HANDOFF", (removals.QUARANTINED, removals.FAILED)),
        "test_releases.py::test_what_failed_for_another_reason_is_not_released",
        also=sql("READ_VIDEOS", (removals.QUARANTINED, removals.FAILED)),
    ),
    Protection(
        "a release is fenced",
        sql("LEASE_FOR_HANDOFF", (removals.QUARANTINED, removals.FAILED)),
        "test_releases.py::test_what_fails_for_another_reason_meanwhile_is_not_released",
    ),
    Protection(
        "a message is lost only by the queue's evidence",
        put(list_stale_videos, "lost", removals.by_the_wait_alone),
        "test_lost_messages.py::test_a_video_that_merely_waits_long_in_a_long_queue_is_not_sent_again",
    ),
    Protection(
        "an empty queue is looked at twice",
        put(waiting, "_EMPTY_LOOKS_APART_S", 0),
        "test_lost_messages.py::test_one_look_at_an_empty_queue_is_not_enough",
    ),
    Protection(
        "a wait belongs to one claim",
        removals.identified_by(lambda video: video.upload),
        "test_lost_messages.py::test_a_wait_belongs_to_one_upload_and_one_claim",
        {"change": "processing_started_at = now()"},
    ),
    Protection(
        "a wait belongs to one upload",
        removals.identified_by(lambda video: video.lease),
        "test_lost_messages.py::test_a_wait_belongs_to_one_upload_and_one_claim",
        {"change": "file_key = 'uploaded-again'"},
    ),
    Protection(
        "waits start again after a gap between looks",
        put(list_stale_videos, "still_valid", removals.recorded_without_a_look),
        "test_lost_messages.py::test_a_retry_in_a_gap_between_looks_starts_the_wait_again",
    ),
    Protection(
        "at most 100 messages are sent again in a run",
        put(list_stale_videos, "MAX_RESENT", 10_000),
        "test_lost_messages.py::test_at_most_a_hundred_are_sent_in_one_run_those_that_wait_longest_first",
    ),
    Protection(
        "a user's retry starts the wait again",
        put(list_stale_videos, "track", removals.of_a_retry_unaware),
        "test_lost_messages.py::test_a_users_retry_starts_the_wait_again",
    ),
    Protection(
        "a user's retry is looked for again before the reclaim",
        put(heartbeats, "_take_waits", removals.taken_unaware),
        "test_lost_messages.py::test_a_retry_between_listing_and_reclaiming_starts_the_wait_again",
    ),
    Protection(
        "a message is lost during one wait",
        put(values, "parse_wait", removals.lost_anyway),
        "test_lost_messages.py::test_a_redrive_days_later_does_not_judge_what_waits_now",
    ),
    Protection(
        "one execution takes a wait",
        put(heartbeats, "_take_waits", removals.read_and_left),
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
