"""The handlers that move videos, on a real PostgreSQL and a real Redis, with SQS on moto."""

import gc
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws

import enqueue
import list_stale_videos
import reclaim
from video_reclaim import aws
from video_reclaim.adapters import cloudwatch
from video_reclaim.adapters import sqs as sqs_adapter
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.adapters.redis.heartbeats import Heartbeats, heartbeats
from video_reclaim.errors import (
    EnqueueIncomplete,
    InvalidInput,
    InvalidSetting,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
)
from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.platform import QUARANTINE_PREFIX
from video_reclaim.rules.staleness import Video

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:first"
ANOTHER = "arn:aws:states:us-east-1:123456789012:execution:video-reclaim:second"
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def queue(environment):
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="academy-video-jobs")["QueueUrl"]
        environment.setenv("QUEUES_URLS", json.dumps({"Video": [url]}))
        yield Queue(sqs, url)


class Queue:
    def __init__(self, sqs, url):
        self.sqs, self.url = sqs, url

    def messages(self):
        """Receive and delete everything; the bodies."""
        bodies = []
        while found := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                bodies.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return bodies


def listed(run=None, **given):
    return list_stale_videos.handler({"input": given, "run": run or {}, "execution": EXECUTION}, None)


def reclaimed(*videos, execution=EXECUTION, partial=False):
    given = {"videos": list(videos), "input": {}, "execution": execution, "failOnPartial": partial}
    return reclaim.handler(given, None)


_NO_ANSWER = {"ResponseMetadata": {"RetryAttempts": 0}}


class TestListing:
    def test_the_platforms_rule_with_two_strikes(self, academy):
        expired = academy.add(until=-1)
        academy.add(beats=True)
        silent = academy.add()
        assert listed()["batches"] == [[expired]]
        academy.strike(silent, ago_s=60)
        answer = listed()
        assert answer["batches"] == [[expired], [silent]]
        assert answer["run"]["stale"] == {"leaseExpired": 1, "silentTwice": 1}
        assert answer["run"]["spared"] == {"beating": 1}

    def test_a_second_look_confirms_what_the_first_saw(self, academy):
        expired, silent = academy.add(until=-1), academy.add()
        first = listed()
        assert (first["batches"], first["firstMisses"]) == ([[expired]], 1)
        academy.strike(silent, ago_s=60)
        reclaimed(expired)
        second = listed(run=first["run"])
        assert (second["batches"], second["firstMisses"]) == ([[silent]], 0)
        assert second["run"]["stale"] == {"leaseExpired": 1, "silentTwice": 1}
        assert second["run"]["spared"] == {}

    def test_a_dry_run_tells_reasons_and_writes_nothing(self, academy):
        expired, silent, doubtful = academy.add(until=-1), academy.add(), academy.add(tenant=None)
        before = academy.rows()
        answer = listed(dryRun=True)
        assert answer["batches"] == []
        assert answer["run"]["videos"] == [
            {"id": expired, "reason": "leaseExpired"},
            {"id": silent, "reason": "silentOnce"},
            {"id": doubtful, "reason": "tenantUnknown"},
        ]
        assert answer["run"]["spared"] == {"silentOnce": 1, "tenantUnknown": 1}
        assert answer["run"]["tenantUnknown"] == [doubtful]
        assert academy.rows() == before
        assert academy.redis.keys("tenant:*") == []

    def test_redis_away_reclaims_by_lease_alone_and_says_so(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        expired = academy.add(until=-1)
        academy.add()
        answer = listed()
        assert answer["batches"] == [[expired]]
        assert answer["run"]["heartbeatsTrusted"] is False
        assert answer["run"]["spared"] == {"heartbeatUnknown": 1}

    def test_strikes_that_cannot_be_written_confirm_nothing_and_are_told(self, academy, environment, valkey):
        academy.redis.acl_setuser(
            "reader", reset=True, enabled=True, nopass=True, keys="*", commands=["+@all", "-set", "-hset"]
        )
        environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://reader:any@"))
        academy.add()
        academy.add(beats=True)
        answer = listed()
        assert answer["run"]["spared"] == {"silentOnce": 1, "beating": 1}
        assert answer["run"]["heartbeatsTrusted"] is False
        assert answer["firstMisses"] == 0

    def test_a_strike_outlives_three_rounds_without_a_look(self, academy, environment):
        environment.setenv("SCHEDULE_RATE_MINUTES", "5")
        video = academy.add()
        listed()
        assert 15 * 60 < academy.redis.ttl(f"tenant:1:video:{video}:silence") <= 20 * 60

    @pytest.mark.parametrize("rule", ["reclaim", "spare"])
    def test_an_expired_lease_under_which_heartbeats_arrive_is_a_setting(self, academy, environment, rule):
        environment.setenv("RECLAIMING_EXPIRED_BUT_BEATING", rule)
        video = academy.add(until=-1, beats=True)
        answer = listed()
        assert answer["batches"] == ([[video]] if rule == "reclaim" else [])
        assert answer["run"]["expiredButBeating"] == 1
        taken = reclaimed(video)
        assert taken["videos"] == ([video] if rule == "reclaim" else [])

    def test_an_expired_lease_that_is_spared_while_heartbeats_arrive_needs_two_strikes(
        self, academy, environment
    ):
        environment.setenv("RECLAIMING_EXPIRED_BUT_BEATING", "spare")
        video = academy.add(until=-1)
        assert (listed()["batches"], listed()["firstMisses"]) == ([], 1)
        academy.strike(video, ago_s=60)
        assert listed()["run"]["stale"] == {"leaseExpired": 1}

    def test_without_a_confirmation_the_first_miss_counts(self, academy, environment):
        environment.setenv("RECLAIMING_CONFIRM_SILENCE_SECONDS", "0")
        video = academy.add()
        assert listed()["batches"] == [[video]]
        assert reclaimed(video)["videos"] == [video]

    def test_the_silence_of_all_workers_must_last_longer_and_has_no_second_look(self, academy):
        videos = [academy.add(by=f"worker-{number}") for number in range(5)]
        assert listed()["firstMisses"] == 0
        for video in videos:
            academy.strike(video, ago_s=599)
        assert listed()["batches"] == []
        for video in videos:
            academy.strike(video, ago_s=1)
        assert listed()["batches"] == [[video] for video in videos]

    def test_a_quarantined_video_that_is_named_is_released_and_listed_once(self, academy):
        quarantined, other, stuck = academy.add("FAILED"), academy.add("FAILED"), academy.add(until=-1)
        academy.sql(
            "UPDATE video_video SET error_reason = 'Processing was interrupted too often' WHERE id < %s",
            (stuck,),
        )
        answer = listed(release=[quarantined, stuck])
        assert answer["batches"] == [[quarantined], [stuck]]
        assert answer["run"]["stale"] == {"released": 1, "leaseExpired": 1}
        assert other not in {video for batch in answer["batches"] for video in batch}

    def test_the_counts_of_videos_that_became_ready_end(self, academy):
        ready, gone, working = (academy.add(until=-1) for _ in range(3))
        reclaimed(ready, gone, working)
        academy.sql("UPDATE video_video SET status = 'READY' WHERE id = %s", (ready,))
        academy.sql("DELETE FROM video_video WHERE id = %s", (gone,))
        listed(dryRun=True)
        assert len(academy.redis.keys("*:reclaims")) == 3
        listed()
        assert academy.redis.keys("*:reclaims") == [f"tenant:1:video:{working}:reclaims".encode()]
        assert academy.redis.zrange("video-reclaim:counted", 0, -1) == [f"1:{working}".encode()]

    @pytest.mark.parametrize(("oldest_s", "lost"), [(50.0, True), (500.0, False)])
    def test_a_queue_that_is_not_empty_is_asked_for_its_oldest_message_by_name(
        self, academy, environment, queue, oldest_s, lost
    ):
        asked = []

        def oldest_message_s(name, *, at):
            asked.append(name)
            assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
            return oldest_s

        environment.setattr(cloudwatch, "oldest_message_s", oldest_message_s)
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody="{}")
        video = academy.add("UPLOADED")
        listed()
        assert asked == []  # nothing has waited for long
        field = academy.redis.hget("video-reclaim:waiting", video).decode()
        at_s, _, identity = field.partition(" ")
        academy.redis.hset("video-reclaim:waiting", video, f"{float(at_s) - 1_000} {identity}")
        answer = listed()
        assert asked == ["academy-video-jobs"]
        assert answer["batches"] == ([[video]] if lost else [])
        assert (answer["run"]["messagesLost"], answer["run"]["longestWaitS"] > 999) == (int(lost), True)

    def test_a_dry_run_writes_no_wait(self, academy):
        academy.add("UPLOADED")
        answer = listed(dryRun=True)
        assert answer["run"]["longestWaitS"] == 0
        assert academy.redis.exists("video-reclaim:waiting") == 0

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

    def test_a_video_that_waits_without_a_tenant_is_told(self, academy):
        doubtful = academy.add("UPLOADED", tenant=None)
        academy.add("UPLOADED")
        answer = listed()
        assert (answer["batches"], answer["run"]["tenantUnknown"]) == ([], [doubtful])
        assert answer["run"]["spared"] == {"tenantUnknown": 1}

    @pytest.mark.parametrize("refused", ["hset", "set", "del"])
    def test_redis_that_takes_no_record_is_not_trusted(self, academy, valkey, environment, refused):
        """Every write of a listing counts: waits, strikes, and the counts of what has ended."""
        academy.add("UPLOADED")
        academy.add()
        academy.redis.zadd("video-reclaim:counted", {f"1:{academy.add('READY')}": 1})
        assert listed()["run"]["heartbeatsTrusted"] is True
        academy.redis.zadd("video-reclaim:counted", {f"1:{academy.add('READY')}": 1})
        academy.redis.delete("video-reclaim:waiting")
        commands = ["+@all", f"-{refused}"]
        academy.redis.acl_setuser(
            "narrow", reset=True, enabled=True, nopass=True, keys="*", commands=commands
        )
        environment.setenv("REDIS_URL", valkey.url.replace("redis://", "redis://narrow:any@"))
        heartbeats.cache_clear()
        assert listed()["run"]["heartbeatsTrusted"] is False

    def test_a_missing_setting_is_named(self, environment):
        environment.delenv("DATABASE_HOST")
        with pytest.raises(InvalidSetting, match=r"^DATABASE_HOST: is not set"):
            listed()

    def test_the_database_away_is_a_named_error(self, academy, environment):
        environment.setenv("DATABASE_PORT", "1")
        with pytest.raises(StoreUnavailable):
            listed()


class TestListingInPages:
    """300 videos whose workers are heard, 50 that are silent and 250 with expired leases, 50 a page."""

    PAGE = 50

    @pytest.fixture
    def held(self, academy, monkeypatch):
        """The number of rows that the process holds when a page is asked for, page by page."""
        academy.sql(
            "INSERT INTO video_video (session_id, file_key, status, leased_by, leased_until,"
            " processing_started_at, created_at, updated_at)"
            " SELECT 1, 'key', 'PROCESSING', 'w-' || i, now() + CASE WHEN i > 350 THEN -1 ELSE 1 END * interval '1 h',"
            " now() - (1000 - i) * interval '1 s', now(), now() FROM generate_series(1, 600) i"
        )
        self.ids = [
            id_ for (id_,) in academy.sql("SELECT id FROM video_video ORDER BY processing_started_at")
        ]
        for video_id in self.ids[:300]:
            academy.redis.set(f"tenant:1:video:{video_id}:heartbeat", "1", ex=60)
        held, read = [], Store.list_candidates

        def rows_held():
            return sum(type(one) is Video for one in gc.get_objects())

        def counted(store):
            for page in read(store, page=self.PAGE):
                held.append(rows_held() - before)
                yield page
                del page

        gc.collect()
        before = rows_held()  # tests have videos of their own
        monkeypatch.setattr(Store, "list_candidates", counted)
        return held

    def test_counts_are_exact_and_the_oldest_claims_come_first(self, held):
        found = listed(limit=100)
        assert found["run"]["stale"] == {"leaseExpired": 250}
        assert found["run"]["spared"] == {"beating": 300, "silentOnce": 50}
        assert found["run"]["heartbeatsTrusted"] is True
        assert found["run"]["leftToNextRun"] == 150
        assert [video for batch in found["batches"] for video in batch] == self.ids[350:450]
        assert found["firstMisses"] == 50

    def test_no_more_than_a_few_pages_are_held_however_many_there_are(self, held):
        listed()
        assert len(held) == 12
        assert max(held) <= 3 * self.PAGE

    @pytest.mark.parametrize("heard", [0, 1], ids=["nobody-is-heard", "one-is-heard"])
    def test_silence_is_judged_by_all_pages(self, academy, held, heard):
        academy.redis.delete(*[f"tenant:1:video:{video}:heartbeat" for video in self.ids[: 300 - heard]])
        academy.redis.set("video-reclaim:heartbeat-seen", "1", ex=86_400)
        listed()
        for video in self.ids[:350]:
            if academy.redis.exists(f"tenant:1:video:{video}:silence"):
                academy.strike(video, ago_s=60)
        stale = listed()["run"]["stale"]
        assert stale == {"leaseExpired": 250, **({"silentTwice": 349} if heard else {})}

    @pytest.mark.parametrize(
        ("call", "answers"),
        [
            pytest.param("look_on", None, id="is-not-read"),
            pytest.param("record", False, id="is-not-recorded"),
        ],
    )
    def test_a_redis_that_goes_away_in_between_is_waited_for_once(self, held, monkeypatch, call, answers):
        asked, ask = [], getattr(Heartbeats, call)

        def goes_away(self, *given, **named):
            asked.append(call)
            return answers if len(asked) == 3 else ask(self, *given, **named)

        monkeypatch.setattr(Heartbeats, call, goes_away)
        found = listed()
        assert len(asked) == 3
        assert found["run"]["heartbeatsTrusted"] is False
        assert found["run"]["stale"] == {"leaseExpired": 250}
        assert set(found["run"]["spared"]) == {"beating", "heartbeatUnknown"}
        assert found["firstMisses"] == 0

    def test_a_video_to_release_is_listed_once_and_first(self, academy, held):
        released = academy.add("FAILED", started=-10)
        academy.sql(
            "UPDATE video_video SET error_reason = %s WHERE id = %s",
            (f"{QUARANTINE_PREFIX}: 6 times within 7 days.", released),
        )
        found = listed(release=[released, self.ids[-1]])
        ids = [video for batch in found["batches"] for video in batch]
        assert ids[0] in (released, self.ids[-1]) and len(ids) == len(set(ids)) == 251
        assert found["run"]["stale"] == {"released": 1, "leaseExpired": 250}


class TestReclaiming:
    def test_looks_afresh_and_takes_only_what_is_still_stale(self, academy):
        stale, ready, beating = academy.add(until=-1), academy.add("READY"), academy.add(beats=True)
        answer = reclaimed(stale, ready, beating, 4242)
        assert answer["videos"] == [stale]
        assert answer["attempts"] == [2]
        assert answer["did"] == {"skipped": {"beating": 1, "movedOn": 2}}
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
        academy.sql("UPDATE video_video SET leased_until = now() - interval '1 second'")
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

    def test_redis_away_never_quarantines_and_never_counts_silence(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        environment.setenv("RECLAIMING_MAX_RECLAIMS", "1")
        expired, silent = academy.add(until=-1), academy.add()
        answer = reclaimed(expired, silent)
        assert (answer["videos"], answer["attempts"]) == ([expired], [2])
        assert answer["did"]["skipped"] == {"heartbeatUnknown": 1}

    def test_a_video_that_was_not_taken_is_not_counted(self, academy):
        video = academy.add(beats=True)
        reclaimed(video)
        assert academy.redis.keys("*:reclaims") == []

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

    @pytest.mark.parametrize("write", ["lease_for_handoff", "quarantine"])
    def test_a_write_that_fails_is_not_counted(self, academy, environment, write):
        def unavailable(*_, **__):
            raise StoreUnavailable("gone")

        environment.setenv("RECLAIMING_MAX_RECLAIMS", "1")
        taken, given_up = academy.add(until=-1), academy.add(until=-1)
        academy.redis.zadd(
            f"tenant:1:video:{given_up}:reclaims", {f"{academy.upload(given_up)} x": time.time()}
        )
        environment.setattr(reclaim.store(), write, unavailable)
        with pytest.raises(StoreUnavailable, match=f"2 videos failed: {taken}, {given_up}"):
            reclaimed(taken, given_up)
        counted = academy.redis.zcard(f"tenant:1:video:{taken}:reclaims")
        assert counted == (0 if write == "lease_for_handoff" else 1)
        assert academy.redis.zcard(f"tenant:1:video:{given_up}:reclaims") == 1

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

    def test_redis_away_is_told_with_the_item(self, academy, environment):
        environment.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
        assert reclaimed(academy.add(until=-1))["did"] == {"redisAway": 1}

    def test_what_another_execution_left_behind_is_told_and_its_own_only_by_the_second_pass(self, academy):
        video = academy.add(until=-1)
        reclaimed(video)
        assert "duplicates" not in reclaimed(video)["did"]
        assert reclaimed(video, partial=True)["did"]["duplicates"] == {"adopted": 1}
        academy.sql("UPDATE video_video SET leased_until = now() - interval '1 second'")
        assert reclaimed(video, execution=ANOTHER)["did"]["duplicates"] == {"adopted": 1}

    def test_a_lost_message_is_sent_again_only_by_the_first_that_asks_and_only_after_its_time(
        self, academy, environment
    ):
        environment.setenv("RECLAIMING_LOST_AFTER_SECONDS", "900")
        video = academy.add("UPLOADED")
        listed()
        key, field = "video-reclaim:waiting", str(video)
        at_s, _, identity = academy.redis.hget(key, field).decode().partition(" ")
        for ago_s, found, taken in ((890, "lost ", []), (901, "", []), (901, "lost ", [video])):
            academy.redis.hset(key, field, f"{float(at_s) - ago_s} {found}{identity}")
            answer = reclaimed(video)
            assert answer["videos"] == taken
        assert answer["did"] == {"resent": 1}
        assert answer["attempts"] == [2]

    def test_a_released_video_starts_anew(self, academy):
        video = academy.add("FAILED")
        academy.sql("UPDATE video_video SET error_reason = 'Processing was interrupted too often: 6 times'")
        given = {"videos": [video], "execution": EXECUTION, "failOnPartial": False}
        assert reclaim.handler(given | {"input": {}}, None)["videos"] == []
        answer = reclaim.handler(given | {"input": {"release": [video]}}, None)
        assert (answer["videos"], answer["attempts"]) == ([video], [1])
        assert academy.sql("SELECT status, error_reason FROM video_video") == [("UPLOADED", None)]

    def test_the_platforms_own_failure_is_never_released(self, academy):
        video = academy.add("FAILED")
        academy.sql("UPDATE video_video SET error_reason = 'encoder crashed'")
        given = {
            "videos": [video],
            "input": {"release": [video]},
            "execution": EXECUTION,
            "failOnPartial": False,
        }
        assert reclaim.handler(given, None)["did"] == {"skipped": {"movedOn": 1}}

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
        (body,) = queue.messages()
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
        assert len(queue.messages()) == 25

    def test_what_may_be_sent_twice_is_counted(self, academy, queue):
        academy.add(until=-1)
        orphan = academy.add("UPLOADED", by="reclaim:earlier", until=-1)
        taken = reclaimed(orphan)
        assert enqueue.handler({**taken, "retries": 0}, None)["did"]["duplicates"] == {"adopted": 1}
        video = academy.add(until=-1)
        again = enqueue.handler({**reclaimed(video), "retries": 1}, None)
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
        assert queue.messages() == []
        assert academy.state(video) == ("PROCESSING", "w-2", True)

    def test_a_queue_that_is_gone_fails_and_names_the_videos(self, academy, queue):
        video = academy.add(until=-1)
        taken = reclaimed(video)
        queue.sqs.delete_queue(QueueUrl=queue.url)
        with pytest.raises(QueueUnavailable, match=f"^1 video failed: {video} .*queue"):
            enqueue.handler(taken, None)
        assert academy.state(video)[1] == f"reclaim:{token_for(EXECUTION)}"


class TestPartialFailures:
    """SQS that takes some and refuses others, which moto never does."""

    @pytest.fixture
    def refusing(self, queue, monkeypatch):
        """Make SQS refuse entries by id, or fail the call that has a certain video."""
        real = boto3.client("sqs")

        class Refusing:
            ids, failing_with = frozenset(), None

            def send_message_batch(self, QueueUrl, Entries):
                if self.failing_with in {int(entry["Id"]) for entry in Entries}:
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
                return answer

        double = Refusing()
        fake = SimpleNamespace(client=lambda service: double, describe=aws.describe)
        monkeypatch.setattr(sqs_adapter, "aws", fake)
        return double

    def test_only_what_was_accepted_is_cleared_and_the_rest_is_named(self, academy, queue, refusing):
        videos = [academy.add(until=-1) for _ in range(12)]
        refusing.ids = {videos[3], videos[11]}
        taken = reclaimed(*videos)
        answer = enqueue.handler(taken, None)
        assert answer["did"] == {"reclaimed": 10, "enqueued": 10}
        assert (answer["ids"], answer["error"]) == ([videos[3], videos[11]], "EnqueueIncomplete")
        carried = {video for video in videos if academy.state(video)[1]}
        assert carried == refusing.ids
        refusing.ids = frozenset()
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 2
        assert sorted(body["video_id"] for body in queue.messages()) == videos

    def test_all_refused_fails(self, academy, refusing):
        video = academy.add(until=-1)
        refusing.ids = {video}
        with pytest.raises(EnqueueIncomplete, match=f"{video} \\(InternalError\\)"):
            enqueue.handler(reclaimed(video), None)

    def test_any_refused_fails_the_second_pass_after_the_accepted_ones_were_cleared(self, academy, refusing):
        good, bad = academy.add(until=-1), academy.add(until=-1)
        refusing.ids = {bad}
        with pytest.raises(EnqueueIncomplete):
            enqueue.handler(reclaimed(good, bad, partial=True), None)
        assert academy.state(good) == ("UPLOADED", "", False)

    def test_a_call_that_fails_keeps_what_other_calls_have_sent(self, academy, queue, refusing):
        videos = [academy.add(until=-1) for _ in range(25)]
        refusing.failing_with = videos[24]
        taken = reclaimed(*videos)
        answer = enqueue.handler(taken, None)
        assert (answer["did"]["enqueued"], answer["error"]) == (20, "QueueUnavailable")
        assert answer["ids"] == videos[20:]
        refusing.failing_with = None
        assert enqueue.handler(taken, None)["did"]["enqueued"] == 5
        assert sorted(body["video_id"] for body in queue.messages()) == videos

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
        assert sorted(body["video_id"] for body in queue.messages()) == videos
