"""The handlers that move videos, on a real PostgreSQL and a real Redis, with SQS on moto."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

import enqueue
import list_stale_videos
import reclaim
from dev.testing.messages import Queue
from dev.testing.servers import HEARD_KEY, STAGE
from video_reclaim import aws
from video_reclaim.adapters import sqs as sqs_adapter
from video_reclaim.adapters.redis.heartbeats import heartbeats
from video_reclaim.errors import (
    EnqueueIncomplete,
    InvalidInput,
    InvalidSetting,
    QueueRefused,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
)
from video_reclaim.rules.handoff import token_for

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"
ANOTHER = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:second"
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def queue(environment):
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="academy-video-jobs")["QueueUrl"]
        other = sqs.create_queue(QueueName="academy-ai-jobs")["QueueUrl"]
        sqs.send_message(QueueUrl=other, MessageBody="of no video")
        environment.setenv("QUEUES_URLS", json.dumps({"AI": [other], "Video": [url]}))
        yield Queue(sqs, url)


def listed(run=None, **given):
    return list_stale_videos.handler({"input": given, "run": run or {}, "execution": EXECUTION}, None)


def abandon(academy):
    """Let the handoffs that nobody ended expire, and nothing happen for a minute after a first look."""
    academy.sql("UPDATE video_video SET leased_until = now() - interval '1 second' WHERE status = 'UPLOADED'")
    listed()
    academy.pass_time(60)


def reclaimed(*videos, execution=EXECUTION, partial=False, given=None, started_s=0, unsent=None):
    """Reclaim videos, in the second pass if ``partial``; the execution began ``started_s`` seconds ago."""
    event = {
        "videos": list(videos),
        "input": given or {},
        "execution": execution,
        "startedAt": (datetime.now(UTC) - timedelta(seconds=started_s)).isoformat(),
        "failOnPartial": partial,
        "unsent": not partial if unsent is None else unsent,
    }
    return reclaim.handler(event, None)


_NO_ANSWER = {"ResponseMetadata": {"RetryAttempts": 0}}


class TestListing:
    def test_a_video_is_silent_when_its_heartbeat_has_not_moved_for_long_enough(self, academy):
        silent, beating, late = academy.add(beats=True), academy.add(beats=True), academy.add(beats=True)
        assert listed()["run"]["spared"] == {"beating": 3}
        academy.pass_time(59)
        academy.pass_time(1, silent)
        academy.beat(beating, left_s=300)
        answer = listed()
        assert answer["batches"] == [[silent]]
        assert (answer["run"]["stale"], answer["run"]["spared"]) == (
            {"silent": 1},
            {"beating": 1, "suspect": 1},
        )
        assert answer["confirmAfterS"] in (2, 3), "the rest of a minute for the late one, and a margin"
        assert reclaimed(silent, beating, late)["videos"] == [silent]

    def test_a_heartbeat_that_expires_by_its_own_time_has_not_moved_and_one_that_is_deleted_has(
        self, academy
    ):
        expiring, deleted = academy.add(beats=True), academy.add(beats=True)
        academy.redis.pexpire(f"tenant:1:video:{expiring}:heartbeat", 100)
        listed()
        academy.pass_time(61)
        academy.redis.delete(f"tenant:1:video:{deleted}:heartbeat")
        time.sleep(0.11)
        answer = listed()
        assert (answer["batches"], answer["run"]["spared"]) == ([[expiring]], {"suspect": 1})

    def test_a_second_look_confirms_what_the_first_suspected(self, academy):
        expired, silent = academy.add(until=-1), academy.add()
        listed()
        academy.pass_time(50)
        first = listed()
        assert (first["batches"], first["confirmAfterS"]) == ([[expired]], 12)
        academy.pass_time(10)
        reclaimed(expired)
        second = listed(run=first["run"] | {"leftToNextRun": 0.0})
        assert (second["batches"], second["confirmAfterS"]) == ([[silent]], 0)
        assert (second["run"]["stale"], second["run"]["spared"]) == ({"leaseExpired": 1, "silent": 1}, {})

    def test_a_terminated_instances_videos_are_stale_at_once_heartbeat_or_not(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        gone, other = (academy.add(by=f"i-0123456789abcde{n}-1", beats=True) for n in ("f0", "f1"))
        answer = listed(terminated=["i-0123456789abcdef0"])
        assert answer["batches"] == [[gone]]
        assert answer["run"]["stale"] == {"workerGone": 1}
        given = {"terminated": ["i-0123456789abcdef0"]}
        assert reclaimed(gone, other, given=given)["videos"] == [gone]

    def test_a_dry_run_tells_reasons_and_writes_nothing(self, academy):
        expired, new, doubtful = academy.add(until=-1), academy.add(), academy.add(tenant=None)
        academy.add("UPLOADED")
        before = academy.rows()
        answer = listed(dryRun=True)
        assert answer["batches"] == []
        assert answer["run"]["videos"] == [
            {"id": expired, "reason": "leaseExpired"},
            {"id": new, "reason": "suspect"},
            {"id": doubtful, "reason": "tenantUnknown"},
        ]
        assert answer["run"]["spared"] == {"suspect": 1, "tenantUnknown": 1}
        assert answer["run"]["tenantUnknown"] == [doubtful]
        assert academy.rows() == before
        assert academy.redis.keys("*") == [HEARD_KEY.encode()]

    def test_redis_away_reclaims_by_lease_alone_and_says_so(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        expired = academy.add(until=-1)
        academy.add()
        answer = listed()
        assert answer["batches"] == [[expired]]
        assert (answer["run"]["heartbeatsTrusted"], answer["run"]["distrust"]) == (False, "redisAway")
        assert answer["run"]["spared"] == {"heartbeatUnknown": 1}

    @pytest.mark.parametrize("refused", ["hset", "hdel", "set"])
    def test_a_redis_that_takes_no_record_is_not_trusted(self, academy, valkey, environment, refused):
        """It takes no heartbeats either. Every write of a listing counts."""
        silent, ended, beating = academy.add(), academy.add(), academy.add(beats=True)
        academy.redis.delete(HEARD_KEY)
        assert listed()["run"]["distrust"] == "neverHeard"
        academy.pass_time(60)
        academy.sql("UPDATE video_video SET status = 'READY' WHERE id = %s", (ended,))
        academy.beat(beating, left_s=90)
        academy.redis.acl_setuser(
            "narrow", reset=True, enabled=True, nopass=True, keys="*", commands=["+@all", f"-{refused}"]
        )
        environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://narrow:any@"))
        heartbeats.cache_clear()
        answer = listed()
        assert (answer["batches"], answer["run"]["distrust"]) == ([], "redisAway")
        environment.setenv("REDIS_URL", valkey.url)
        heartbeats.cache_clear()
        academy.beat(beating, left_s=120)
        assert listed()["batches"] == [[silent]]

    @pytest.mark.parametrize("rule", ["reclaim", "spare"])
    def test_an_expired_lease_under_which_heartbeats_arrive_is_a_setting(self, academy, environment, rule):
        environment.setenv("RECLAIMING_EXPIRED_BUT_BEATING", rule)
        video = academy.add(until=-1, beats=True)
        answer = listed()
        assert answer["batches"] == ([[video]] if rule == "reclaim" else [])
        assert answer["run"]["expiredButBeating"] == 1
        assert reclaimed(video)["videos"] == ([video] if rule == "reclaim" else [])
        academy.pass_time(60)
        assert listed()["run"]["stale"] == ({} if rule == "reclaim" else {"leaseExpired": 1})

    def test_the_silence_of_most_workers_must_last_longer_and_is_told_at_once(self, academy):
        videos = [academy.add(by=f"worker-{number}") for number in range(3)]
        heard = [academy.add(beats=True) for _ in range(2)]
        listed()
        for passed_s, found in ((30, {"suspect": 3}), (569, {"massSilence": 3})):
            academy.pass_time(passed_s, *videos)
            answer = listed()
            assert (answer["batches"], answer["confirmAfterS"]) == ([], 0)
            assert answer["run"]["spared"] == {**found, "beating": 2}
            assert answer["run"]["distrust"] == "massSilence"
            assert reclaimed(*videos)["videos"] == [], "a redrive doesn't know better"
        academy.pass_time(1, *videos)
        assert listed()["batches"] == [[video] for video in videos]
        heard.append(academy.add(beats=True))
        assert listed()["run"]["distrust"] == "massSilence", "the new one may be a dead worker's"
        academy.pass_time(-530, *videos)
        assert listed()["batches"] == [[video] for video in videos], "as many are heard"

    def test_a_quarantined_video_that_is_named_is_released_and_listed_once(self, academy):
        quarantined, other = academy.add("FAILED"), academy.add("FAILED")
        stuck = academy.add(until=-1, beats=True)
        academy.sql(
            "UPDATE video_video SET error_reason = 'Processing was interrupted too often' WHERE id < %s",
            (stuck,),
        )
        answer = listed(release=[quarantined, stuck])
        assert answer["batches"] == [[quarantined], [stuck]]
        assert answer["run"]["stale"] == {"released": 1, "leaseExpired": 1}
        assert answer["run"]["expiredButBeating"] == 1
        assert other not in {video for batch in answer["batches"] for video in batch}

    def test_a_waiting_video_is_lost_after_two_looks_at_a_queue_that_cannot_hold_its_message(
        self, academy, queue
    ):
        video = academy.add("UPLOADED")
        listed()
        academy.pass_time(301)
        assert listed()["batches"] == [], "one look is not enough"
        academy.pass_time(60)
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody="{}")
        assert listed()["batches"] == [], "there is a message"
        queue.take_all()
        assert listed()["batches"] == [], "the proof begins anew"
        academy.pass_time(60)
        answer = listed()
        assert (answer["batches"], answer["run"]["longestWaitS"] > 400) == ([[video]], True)
        assert (reclaimed(video)["videos"], reclaimed(video, execution=ANOTHER)["videos"]) == ([video], [])
        assert listed()["run"]["longestWaitS"] == 0

    def test_the_limit_takes_the_oldest_claims_and_says_what_is_left(self, academy):
        academy.add(until=-1, started=-10)
        oldest = academy.add(until=-1, started=-30)
        middle = academy.add(until=-1, started=-20)
        answer = listed(limit=2)
        assert answer["batches"] == [[oldest], [middle]]
        assert answer["run"]["leftToNextRun"] == 1

    def test_a_wrong_input_is_found_before_anything_is_asked(self, environment):
        environment.delenv("DATABASE_HOST")
        with pytest.raises(InvalidInput, match=r"^limit: "):
            listed(limit="ten")

    def test_a_video_that_waits_without_a_tenant_is_told(self, academy, queue):
        doubtful = academy.add("UPLOADED", tenant=None)
        academy.add("UPLOADED")
        answer = listed()
        assert (answer["batches"], answer["run"]["tenantUnknown"]) == ([], [doubtful])
        assert answer["run"]["spared"] == {"tenantUnknown": 1}

    def test_what_is_left_alone_is_logged_with_its_evidence_and_what_beats_is_not(self, academy, capsys):
        academy.add(beats=True)
        suspect = academy.add(by="worker-7")
        listed()
        academy.pass_time(30)
        capsys.readouterr()
        listed()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (line,) = [line for line in lines if line["message"] == "left alone" and line["holder"] == "worker-7"]
        assert (line["video"], line["reason"], line["execution"]) == (suspect, "suspect", "first")
        assert datetime.fromisoformat(line["silent_since"]) < datetime.now(UTC) - timedelta(seconds=29)

    def test_a_missing_setting_is_named(self, environment):
        environment.delenv("DATABASE_HOST")
        with pytest.raises(InvalidSetting, match=r"^DATABASE_HOST: is not set"):
            listed()

    def test_the_database_away_is_a_named_error(self, academy, environment):
        environment.setenv("DATABASE_PORT", "1")
        with pytest.raises(StoreUnavailable):
            listed()


class TestReclaiming:
    def test_looks_afresh_and_takes_only_what_is_still_stale(self, academy):
        stale, ready, beating = academy.add(until=-1), academy.add("READY"), academy.add(beats=True)
        answer = reclaimed(stale, ready, beating, 4242)
        assert answer["videos"] == [stale]
        assert answer["attempts"] == [2]
        assert answer["did"] == {"skipped": {"beating": 1, "movedOn": 2}}
        assert academy.redis.keys("*:reclaims") == [f"tenant:1:video:{stale}:reclaims".encode()]
        assert academy.state(stale) == ("UPLOADED", f"reclaim:{token_for(EXECUTION)}", True)

    def test_a_retry_after_a_lost_answer_says_the_same(self, academy):
        video = academy.add(until=-1)
        assert reclaimed(video) == reclaimed(video)

    def test_another_execution_leaves_a_video_that_is_being_carried(self, academy):
        video = academy.add(until=-1)
        reclaimed(video)
        answer = reclaimed(video, execution=ANOTHER)
        assert (answer["videos"], answer["did"]["skipped"]) == ([], {"movedOn": 1})

    def test_an_orphan_is_adopted_and_not_counted_again(self, academy):
        video = academy.add(until=-1)
        assert reclaimed(video)["attempts"] == [2]
        abandon(academy)
        assert reclaimed(video, execution=ANOTHER)["attempts"] == [2]

    def test_every_reclaim_counts_and_the_sixth_is_the_last(self, academy):
        video = academy.add(until=-1, by="worker-9")
        for attempt in range(2, 7):
            assert reclaimed(video, execution=f"{EXECUTION}-{attempt}")["attempts"] == [attempt]
            academy.sql(
                "UPDATE video_video SET status = 'PROCESSING', leased_by = 'worker-9',"
                " leased_until = now() - interval '1 second'"
            )
        answer = reclaimed(video, execution=f"{EXECUTION}-7")
        assert (answer["videos"], answer["did"]["quarantined"]) == ([], 1)
        assert academy.state(video) == ("FAILED", "", False)
        ((reason,),) = academy.sql("SELECT error_reason FROM video_video")
        assert reason.startswith("Processing was interrupted too often: 6 times within 7 days.")
        assert "worker-9" not in reason, "users read it"
        assert academy.redis.keys("*:reclaims") == []  # a retry by hand starts afresh

    def test_three_videos_an_hour_are_quarantined_and_more_are_put_back_and_told(self, academy, environment):
        environment.setenv("RECLAIMING_MAX_RECLAIMS", "1")
        videos = [academy.add(until=-1) for _ in range(5)]
        for video, claims in zip(videos, ("x", "x", "x", "xy", "x"), strict=True):
            academy.redis.zadd(
                f"tenant:1:video:{video}:reclaims",
                {f"{academy.upload(video)} {claim}": time.time() for claim in claims},
            )
        answer = reclaimed(*videos)
        assert (answer["videos"], answer["attempts"]) == (videos[3:], [4, 3])
        assert answer["did"] == {"quarantined": 3, "overLimit": 2}
        assert 3_590 < academy.redis.ttl(f"video-reclaim:{STAGE}:quarantines") <= 3_600

    def test_redis_away_never_quarantines_and_never_counts_silence(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        environment.setenv("RECLAIMING_MAX_RECLAIMS", "1")
        expired, silent = academy.add(until=-1), academy.add()
        answer = reclaimed(expired, silent)
        assert (answer["videos"], answer["attempts"]) == ([expired], [2])
        assert answer["did"]["skipped"] == {"heartbeatUnknown": 1}

    @pytest.fixture
    def one_bad_row(self, academy):
        bad = academy.add(until=-1)
        academy.sql(f"ALTER TABLE video_video ADD CONSTRAINT odd CHECK (id <> {bad} OR status <> 'UPLOADED')")
        yield bad
        academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd")

    def test_one_bad_row_is_reported_and_its_neighbours_go_on(self, academy, one_bad_row):
        good = academy.add(until=-1)
        answer = reclaimed(one_bad_row, good)
        assert answer["videos"] == [good]
        assert answer["did"] == {"refused": 1}

    @pytest.mark.parametrize("partial", [False, True])
    def test_a_bad_row_alone_is_counted_named_in_the_log_and_fails_nothing(
        self, one_bad_row, capsys, partial
    ):
        answer = reclaimed(one_bad_row, partial=partial)
        assert (answer["videos"], answer["did"]) == ([], {"refused": 1})
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["message"], line["video"]) == ("refused", one_bad_row)
        assert "odd" in line["error"]

    def test_users_of_a_quarantined_video_see_its_row_and_nobody_elses_cache_is_dropped(
        self, academy, environment
    ):
        environment.setenv("RECLAIMING_MAX_RECLAIMS", "1")
        given_up, other = academy.add(until=-1, tenant=2), academy.add(until=-1)
        academy.redis.zadd(
            f"tenant:2:video:{given_up}:reclaims", {f"{academy.upload(given_up)} x": time.time()}
        )
        for tenant, video in ((2, given_up), (1, other)):
            academy.redis.set(f"tenant:{tenant}:video:{video}:status", "PROCESSING")
        answer = reclaimed(given_up, other)
        assert (answer["videos"], answer["did"]) == ([other], {"quarantined": 1})
        assert academy.redis.keys("*:status") == [f"tenant:1:video:{other}:status".encode()]
        assert academy.redis.keys("*:reclaims") == [f"tenant:1:video:{other}:reclaims".encode()]

    @pytest.mark.parametrize("refused", ["ttl", "zadd"], ids=["no-look", "no-count"])
    def test_a_redis_that_refuses_a_step_is_told_with_the_item(self, academy, valkey, environment, refused):
        academy.redis.acl_setuser(
            "narrow", reset=True, enabled=True, nopass=True, keys="*", commands=["+@all", f"-{refused}"]
        )
        environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://narrow:any@"))
        assert reclaimed(academy.add(until=-1))["did"] == {"redisAway": 1}

    def test_what_another_execution_left_behind_is_told_and_its_own_only_by_the_second_pass(self, academy):
        video = academy.add(until=-1)
        reclaimed(video)
        assert "duplicates" not in reclaimed(video)["did"]
        assert "duplicates" not in reclaimed(video, partial=True, unsent=True)["did"]
        assert reclaimed(video, partial=True)["did"]["duplicates"] == {"adopted": 1}
        abandon(academy)
        assert reclaimed(video, execution=ANOTHER)["did"]["duplicates"] == {"adopted": 1}

    def test_a_release_frees_our_quarantine_unless_it_was_claimed_again_since(self, academy):
        video, failed = academy.add("FAILED", started=-60), academy.add("FAILED", started=-60)
        academy.sql(
            "UPDATE video_video SET error_reason = CASE id WHEN %s"
            " THEN 'Processing was interrupted too often: 6 times' ELSE 'encoder crashed' END",
            (video,),
        )
        release = {"release": [video, failed]}
        for given, started_s in (({}, 0), (release, 61)):
            assert reclaimed(video, failed, given=given, started_s=started_s)["videos"] == []
        answer = reclaimed(video, failed, given=release, started_s=59)
        assert (answer["videos"], answer["attempts"], answer["did"]["skipped"]) == (
            [video],
            [1],
            {"movedOn": 1},
        )
        assert academy.sql("SELECT status, error_reason FROM video_video WHERE id = %s", (video,)) == [
            ("UPLOADED", None)
        ]

    def test_a_reclaim_keeps_the_reason_that_the_platform_gave(self, academy):
        video = academy.add(until=-1)
        academy.sql("UPDATE video_video SET error_reason = 'first try failed'")
        reclaimed(video)
        assert academy.sql("SELECT error_reason FROM video_video") == [("first try failed",)]

    def test_a_statement_that_is_refused_as_a_whole_fails(self, academy):
        academy.sql("ALTER TABLE video_video RENAME COLUMN leased_until TO hidden")
        try:
            with pytest.raises(StoreRefused):
                reclaimed(1)
        finally:
            academy.sql("ALTER TABLE video_video RENAME COLUMN hidden TO leased_until")


class TestEnqueueing:
    def test_sends_one_exact_message_a_video_and_ends_the_handoff(self, academy, queue):
        video = academy.add(until=-1, tenant=2)
        report = enqueue.handler(reclaimed(video), None)
        assert report == {"did": {"reclaimed": 1, "enqueued": 1}}
        (body,) = queue.take_all()
        sent_at = datetime.fromisoformat(body.pop("created_at"))
        assert abs(datetime.now(UTC) - sent_at) < timedelta(minutes=1)
        assert body == {
            "video_id": video,
            "file_key": "tenants/2/lecture.mp4",
            "tenant_id": 2,
            "tenant_code": "south",
            "attempt": 2,
        }
        assert academy.state(video) == ("UPLOADED", "", False)

    def test_a_retry_sends_nothing_twice(self, academy, queue):
        taken = reclaimed(*(academy.add(until=-1) for _ in range(25)))
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 25
        again = enqueue.handler(taken, None)
        assert again["did"] == {"reclaimed": 25, "skipped": {"movedOn": 25}}
        assert len(queue.take_all()) == 25

    def test_what_may_be_sent_twice_is_counted(self, academy, queue):
        academy.add(until=-1)
        orphan = academy.add("UPLOADED", by="reclaim:earlier", until=-1)
        abandon(academy)
        taken = reclaimed(orphan)
        assert enqueue.handler({**taken, "retries": 0}, None)["did"]["duplicates"] == {"adopted": 1}
        video = academy.add(until=-1)
        again = enqueue.handler({**reclaimed(video), "retries": 1.0}, None)
        assert again["did"]["duplicates"] == {"retried": 1}

    def test_redis_away_is_told(self, academy, queue, environment):
        taken = reclaimed(academy.add(until=-1))
        heartbeats.cache_clear()
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        assert enqueue.handler(taken, None)["did"] == {"reclaimed": 1, "enqueued": 1, "redisAway": 1}

    def test_what_a_worker_has_claimed_meanwhile_stays_with_it(self, academy, queue):
        video = academy.add(until=-1)
        taken = reclaimed(video)
        academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w-2'")
        assert enqueue.handler(taken, None)["did"] == {"reclaimed": 1, "skipped": {"movedOn": 1}}
        assert queue.take_all() == []
        assert academy.state(video) == ("PROCESSING", "w-2", True)

    def test_a_queue_that_is_gone_fails_and_names_the_videos(self, academy, queue):
        video = academy.add(until=-1)
        taken = reclaimed(video)
        queue.sqs.delete_queue(QueueUrl=queue.url)
        with pytest.raises(QueueRefused, match=f"^1 video failed: {video} .*queue"):
            enqueue.handler(taken, None)
        with pytest.raises(QueueUnavailable) as raised:  # an earlier attempt may have sent it
            enqueue.handler({**taken, "retries": 1}, None)
        assert type(raised.value) is QueueUnavailable
        assert academy.state(video)[1] == f"reclaim:{token_for(EXECUTION)}"


class TestPartialFailures:
    """SQS that takes some and refuses others, which moto never does."""

    @pytest.fixture
    def refusing(self, queue, monkeypatch):
        """Make SQS refuse entries by id, or fail the call that has a certain video, once others were answered."""
        real = boto3.client("sqs")

        class Refusing:
            ids, failing_with, failing_after = frozenset(), None, 0
            answered = threading.Semaphore(0)

            def send_message_batch(self, QueueUrl, Entries):
                if self.failing_with in {int(entry["Id"]) for entry in Entries}:
                    for _ in range(self.failing_after):
                        assert self.answered.acquire(timeout=60)
                    raise real.exceptions.QueueDoesNotExist({"Error": {"Code": "gone"}}, "SendMessageBatch")
                good = [entry for entry in Entries if int(entry["Id"]) not in self.ids]
                answer = (
                    real.send_message_batch(QueueUrl=QueueUrl, Entries=good) if good else _NO_ANSWER.copy()
                )
                answer["Failed"] = [
                    {"Id": e["Id"], "Code": "InternalError", "SenderFault": False}
                    for e in Entries
                    if e not in good
                ]
                self.answered.release()
                return answer

        double = Refusing()
        fake = SimpleNamespace(client=lambda service: double, describe=aws.describe)
        monkeypatch.setattr(sqs_adapter, "aws", fake)
        return double

    def test_only_what_was_accepted_is_cleared_and_the_rest_is_named(self, academy, queue, refusing):
        videos = [academy.add(until=-1) for _ in range(12)]
        refusing.ids = {videos[3], videos[11]}
        taken = reclaimed(*videos)
        taken["attempts"] = [2 + video % 3 for video in videos]
        attempts = list(zip(videos, taken["attempts"], strict=True))
        answer = enqueue.handler(taken, None)
        assert answer["did"] == {"reclaimed": 10, "enqueued": 10}
        assert (answer["ids"], answer["error"]) == ([videos[3], videos[11]], "EnqueueIncomplete")
        carried = {video for video in videos if academy.state(video)[1]}
        assert carried == refusing.ids
        refusing.ids = frozenset()
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 2
        assert sorted((body["video_id"], body["attempt"]) for body in queue.take_all()) == attempts

    def test_all_refused_fails_and_the_handoff_was_renewed_before_sending(self, academy, refusing):
        video = academy.add(until=-1)
        refusing.ids = {video}
        taken, left_s = reclaimed(video), "SELECT date_part('epoch', leased_until - now()) FROM video_video"
        assert 890 < academy.sql(left_s)[0][0] <= 900
        academy.sql("UPDATE video_video SET leased_until = now() + interval '9 s'")
        with pytest.raises(EnqueueIncomplete, match=f"{video} \\(InternalError\\)"):
            enqueue.handler(taken, None)
        assert 890 < academy.sql(left_s)[0][0] <= 900

    def test_any_refused_fails_the_second_pass_after_the_accepted_ones_were_cleared(self, academy, refusing):
        good, bad = academy.add(until=-1), academy.add(until=-1)
        refusing.ids = {bad}
        with pytest.raises(EnqueueIncomplete):
            enqueue.handler(reclaimed(good, bad, partial=True), None)
        assert academy.state(good) == ("UPLOADED", "", False)

    def test_a_call_that_fails_keeps_what_other_calls_have_sent(self, academy, queue, refusing):
        videos = [academy.add(until=-1) for _ in range(25)]
        refusing.failing_with, refusing.failing_after = videos[24], 2
        taken = reclaimed(*videos)
        answer = enqueue.handler(taken, None)
        assert (answer["did"]["enqueued"], answer["error"]) == (20, "QueueUnavailable")
        assert answer["ids"] == videos[20:]
        refusing.failing_with = None
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 5
        assert sorted(body["video_id"] for body in queue.take_all()) == videos

    def test_a_slow_queue_is_left_before_the_function_runs_out_of_time(
        self, academy, queue, refusing, monkeypatch
    ):
        videos = [academy.add(until=-1) for _ in range(25)]
        monkeypatch.setattr(sqs_adapter, "_TIME_LIMIT_S", -1)
        taken = reclaimed(*videos)
        for done in (10, 20):
            answer = enqueue.handler(taken, None)
            assert (answer["ids"], answer["error"]) == (videos[done:], "QueueUnavailable")
            assert answer["did"]["enqueued"] == 10
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 5
        assert sorted(body["video_id"] for body in queue.take_all()) == videos
