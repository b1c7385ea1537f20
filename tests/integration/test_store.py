"""The SQL, on a real PostgreSQL."""

from contextlib import closing

import psycopg2
import pytest
from msgspec import structs

from video_reclaim.adapters.postgres import store as store_module
from video_reclaim.adapters.postgres.store import Backlog, Store
from video_reclaim.errors import StoreRefused, StoreUnavailable
from video_reclaim.rules.platform import Job
from video_reclaim.settings import Database, read

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def store(academy, environment):
    return Store(read(Database))


def look(store, *ids):
    return {video.id: video for video in store.read_videos(ids)}


def listed(store):
    return store.list_candidates()


class TestListing:
    def test_finds_everything_processed_and_every_orphan_oldest_claim_first(self, academy, store):
        late = academy.add(until=-60, started=-100)
        early = academy.add(until=3600, started=-9000)
        never = academy.add(by="", until=None, started=None)
        orphan = academy.add("UPLOADED", by="reclaim:x", until=-1, started=-500)
        for status in ("PENDING", "UPLOADED", "READY", "FAILED"):
            academy.add(status)
        academy.add("UPLOADED", by="reclaim:y", until=60)  # another run is carrying it
        assert [video.id for video in listed(store) if not video.waits] == [never, early, orphan, late]

    def test_a_video_whose_lease_expired_while_it_waits_is_no_orphan_and_listed_once(self, academy, store):
        video = academy.add("UPLOADED", by="worker-1", until=-1)
        assert [found.id for found in listed(store)] == [video]

    def test_of_those_that_wait_the_lowest_ids_are_listed_before_all_others(
        self, academy, store, monkeypatch
    ):
        monkeypatch.setattr(store_module, "MAX_WAITING", 2)
        waiting = [academy.add("UPLOADED", id=number) for number in (30, 10, 20)]
        stuck = [academy.add(started=-10), academy.add(started=-10)]
        assert [video.id for video in listed(store)] == [waiting[1], waiting[2], *stuck]
        monkeypatch.setattr(store_module, "MAX_LISTED", 3)
        assert [video.id for video in listed(store)] == [waiting[1], waiting[2], stuck[0]]

    def test_tells_tenant_lease_and_whether_it_expired(self, academy, store):
        expired = academy.add(tenant=2, until=-1)
        live = academy.add(by="w-9", until=60)
        nobody = academy.add(by="", until=None, tenant=None)
        found = {video.id: video for video in listed(store)}
        assert (found[expired].tenant_id, found[expired].lease_expired) == (2, True)
        assert (found[live].leased_by, found[live].lease_expired) == ("w-9", False)
        assert (found[nobody].tenant_id, found[nobody].lease_expired) == (None, False)
        assert len({video.lease for video in found.values()}) == 3

    def test_two_claims_without_a_lease_are_told_apart_by_when_they_started(self, academy, store):
        video = academy.add(by="", until=None, started=-100)
        before = look(store, video)[video].lease
        academy.sql("UPDATE video_video SET processing_started_at = now()")
        assert look(store, video)[video].lease != before

    @pytest.mark.parametrize(
        "term", ["'infinity'", "'-infinity'", "'4714-11-24 BC'", "'294276-12-31'", "NULL"]
    )
    @pytest.mark.parametrize("start", ["'infinity'", "'4714-11-24 BC'", "NULL"])
    def test_no_time_that_a_row_can_have_stops_the_listing(self, academy, store, term, start):
        """Up to version 16, PostgreSQL subtracts no infinite times."""
        odd, usual = academy.add(until=-1), academy.add(until=-1)
        academy.sql(
            f"UPDATE video_video SET leased_until = {term}, processing_started_at = {start} WHERE id = {odd}"
        )
        found = {video.id: video for video in listed(store)}
        assert found[usual].lease_expired
        assert found[odd].lease_expired is (term in ("'-infinity'", "'4714-11-24 BC'"))
        assert store.lease_for_handoff(list(found.values()), token="t", handoff_s=900).ids == [odd, usual]

    def test_a_handoff_without_a_term_is_an_orphan(self, academy, store):
        """The platform saves whole rows as it read them, a token that had ended among them."""
        video = academy.add("UPLOADED", by="reclaim:ended", until=None)
        (found,) = listed(store)
        assert (found.id, found.lease_expired, found.waits) == (video, True, False)


def test_a_session_has_a_statement_timeout_and_a_fixed_timestamp_format(academy, environment, store):
    """A lease is known by its text: two sessions that wrote it differently would never agree on one."""
    video = academy.add()
    usual = look(store, video)[video].lease
    academy.sql("ALTER ROLE postgres SET timezone = 'Asia/Seoul'")
    academy.sql("ALTER ROLE postgres SET datestyle = 'German'")
    academy.sql("ALTER ROLE postgres SET default_transaction_isolation = 'repeatable read'")
    try:
        another = Store(read(Database))
        assert look(another, video)[video].lease == usual
        settings = another._session.fetch("SHOW statement_timeout", {})[0]
        settings |= another._session.fetch("SHOW transaction_isolation", {})[0]
    finally:
        academy.sql("ALTER ROLE postgres RESET ALL")
    patience = f"{read(Database).statement_seconds}s"
    assert settings == {"statement_timeout": patience, "transaction_isolation": "read committed"}


class TestTake:
    def test_leaves_the_video_uploaded_and_leased_to_the_handoff(self, academy, store):
        video = academy.add(until=-1)
        before = academy.rows()[video]
        assert store.lease_for_handoff(store.read_videos([video]), token="t", handoff_s=900).ids == [video]
        assert academy.state(video) == ("UPLOADED", "reclaim:t", True)
        ((left_s,),) = academy.sql("SELECT date_part('epoch', leased_until - now()) FROM video_video")
        assert 890 < left_s <= 900
        after = academy.rows()[video]
        untouched = [0, 1, 5, 6, 7, 8]  # all but status, leased_by and leased_until
        assert [after[i] for i in untouched] == [before[i] for i in untouched]

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param("leased_by = 'w-2'", id="another-holder"),
            pytest.param("leased_until = now() + interval '4 hours'", id="another-term"),
            pytest.param("processing_started_at = now()", id="another-claim"),
            pytest.param("status = 'READY', leased_by = '', leased_until = NULL", id="ready"),
            pytest.param("status = 'FAILED', leased_by = '', leased_until = NULL", id="failed"),
            pytest.param("status = 'UPLOADED', leased_by = '', leased_until = NULL", id="retried-by-hand"),
            pytest.param("status = 'UPLOADED', leased_by = 'reclaim:other'", id="reclaimed-by-another-run"),
        ],
    )
    @pytest.mark.parametrize("lease", [("worker-1", 3600), ("", None)], ids=["leased", "without-lease"])
    def test_a_video_that_moved_on_is_left_alone(self, academy, store, change, lease):
        video = academy.add(by=lease[0], until=lease[1])
        seen = store.read_videos([video])
        academy.sql(f"UPDATE video_video SET {change}")
        before = academy.rows()
        taken = store.lease_for_handoff(seen, token="t", handoff_s=900)
        assert (taken.ids, taken.refused) == ([], {})
        assert academy.rows() == before

    def test_an_expired_lease_that_changed_is_left_to_the_next_look(self, academy, store):
        video = academy.add(until=-1)
        seen = store.read_videos([video])
        academy.sql("UPDATE video_video SET leased_by = 'w-2', leased_until = now() - interval '1 second'")
        assert store.lease_for_handoff(seen, token="t", handoff_s=900).ids == []

    @pytest.mark.parametrize("write", ["lease_for_handoff", "quarantine"])
    def test_the_term_of_a_handoff_that_outlived_its_claim_says_nothing_about_the_worker(
        self, academy, store, write
    ):
        video = academy.add(by="reclaim:other", until=-1, started=-100)
        seen = store.read_videos([video])
        assert not seen[0].lease_expired
        academy.sql("UPDATE video_video SET processing_started_at = now()")
        if write == "quarantine":
            written = store.quarantine(seen, {video: "too often"})
        else:
            written = store.lease_for_handoff(seen, token="t", handoff_s=900)
        assert written.ids == []
        assert academy.state(video) == ("PROCESSING", "reclaim:other", True)

    def test_a_deleted_video_is_no_error(self, academy, store):
        gone, there = academy.add(until=-1), academy.add(until=-1)
        seen = store.read_videos([gone, there])
        academy.sql("DELETE FROM video_video WHERE id = %s", (gone,))
        assert store.lease_for_handoff(seen, token="t", handoff_s=900).ids == [there]

    def test_an_orphan_is_adopted_once(self, academy, store):
        video = academy.add("UPLOADED", by="reclaim:crashed", until=-1)
        seen = store.read_videos([video])
        assert store.lease_for_handoff(seen, token="first", handoff_s=900).ids == [video]
        assert store.lease_for_handoff(seen, token="second", handoff_s=900).ids == []
        assert academy.state(video)[1] == "reclaim:first"

    def test_taking_again_under_the_same_token_renews(self, academy, store):
        video = academy.add(until=-1)
        store.lease_for_handoff(store.read_videos([video]), token="t", handoff_s=300)
        assert store.lease_for_handoff(store.read_videos([video]), token="t", handoff_s=900).ids == [video]
        ((left_s,),) = academy.sql("SELECT date_part('epoch', leased_until - now()) FROM video_video")
        assert left_s > 600

    @pytest.mark.parametrize("name", ['a"b', "a\\b", "(a,b)", "Müller/🎬", "a\tb\nc", "%s", "{}", "\x7f"])
    def test_a_lease_is_recognised_whatever_its_holder_is_called(self, academy, store, name):
        video = academy.add(by=name)
        assert store.lease_for_handoff(store.read_videos([video]), token="t", handoff_s=900).ids == [video]

    def test_a_row_that_somebody_holds_is_left_to_the_next_run(self, academy, store, postgres):
        held, free = academy.add(until=-1), academy.add(until=-1)
        with closing(psycopg2.connect(postgres.dsn)) as other, other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM video_video WHERE id = %s FOR UPDATE", (held,))
            assert store.lease_for_handoff(store.read_videos([held, free]), token="t", handoff_s=900).ids == [
                free
            ]
        assert academy.state(held) == ("PROCESSING", "worker-1", True)

    def test_a_row_that_the_database_refuses_does_not_stop_its_neighbours(self, academy, store):
        before, bad, after = (academy.add(until=-1) for _ in range(3))
        academy.sql(f"ALTER TABLE video_video ADD CONSTRAINT odd CHECK (id <> {bad} OR status <> 'UPLOADED')")
        try:
            taken = store.lease_for_handoff(store.read_videos([before, bad, after]), token="t", handoff_s=900)
        finally:
            academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd")
        assert taken.ids == [before, after]
        assert "odd" in taken.refused[bad]
        assert academy.state(bad) == ("PROCESSING", "worker-1", True)

    def test_a_single_row_that_the_database_refuses_is_written_once(self, academy, store):
        bad = academy.add(until=-1)
        refuses = "CHECK (status <> 'UPLOADED' OR nextval('attempts') < 0)"  # its sequence is not rolled back
        academy.sql(f"CREATE SEQUENCE attempts; ALTER TABLE video_video ADD CONSTRAINT odd {refuses}")
        try:
            taken = store.lease_for_handoff(store.read_videos([bad]), token="t", handoff_s=900)
            assert academy.sql("SELECT last_value, is_called FROM attempts") == [(1, True)]
        finally:
            academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd; DROP SEQUENCE attempts")
        assert list(taken.refused) == [bad]

    @pytest.mark.parametrize("code", ["P0001", "45000", "42501"], ids=["usual", "its-own", "a-statements"])
    def test_a_row_that_a_trigger_refuses_does_not_stop_its_neighbours(self, academy, store, code):
        bad, good = academy.add(until=-1), academy.add(until=-1)
        academy.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF NEW.id = {bad} THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '{code}'; END IF;"
            " RETURN NEW; END $$;"
            " CREATE TRIGGER refusing BEFORE UPDATE ON video_video FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        try:
            taken = store.lease_for_handoff(store.read_videos([bad, good]), token="t", handoff_s=900)
        finally:
            academy.sql("DROP TRIGGER refusing ON video_video; DROP FUNCTION refuse()")
        assert (taken.ids, list(taken.refused)) == ([good], [bad])
        assert "not this one" in taken.refused[bad]

    def test_a_statement_that_is_refused_as_a_whole_is_no_matter_of_its_rows(self, academy, store):
        videos = [academy.add(until=-1) for _ in range(2)]
        seen = store.read_videos(videos)
        academy.sql("ALTER TABLE video_video RENAME error_reason TO reason")
        try:
            with pytest.raises(StoreRefused) as refused:
                store.lease_for_handoff(seen, token="t", handoff_s=900)
        finally:
            academy.sql("ALTER TABLE video_video RENAME reason TO error_reason")
        assert type(refused.value) is StoreRefused
        assert academy.state(videos[0]) == ("PROCESSING", "worker-1", True)

    def test_an_empty_batch_makes_no_connection(self, store):
        nobody = Store(structs.replace(store._session._settings, port=1))
        assert nobody.lease_for_handoff([], token="t", handoff_s=1).ids == []


@pytest.mark.parametrize(
    ("claim", "own"),
    [
        pytest.param(
            "leased_until = now() + interval '14400 s', processing_started_at = now()", True, id="contract"
        ),
        pytest.param(
            "leased_until = now() + interval '14400.0005 s', processing_started_at = now()",
            True,
            id="two-readings",
        ),
        pytest.param(
            "leased_until = now() + interval '14400 s', processing_started_at = now() + interval '1.4 s'",
            False,
            id="earlier-claim",
        ),
        pytest.param(
            "leased_until = now() + interval '14400 s', processing_started_at = now() + interval '2.998 s'",
            False,
            id="earlier-claim-nearly-whole-seconds-ago",
        ),
        pytest.param("leased_until = NULL, processing_started_at = now()", False, id="no-lease"),
        pytest.param("leased_until = now(), processing_started_at = NULL", False, id="no-start"),
    ],
)
def test_whether_the_claim_set_the_lease(academy, store, claim, own):
    video = academy.add()
    academy.sql(f"UPDATE video_video SET {claim}")
    (read,), (listed,) = store.read_videos([video]), store.list_candidates()
    assert (read.leased_by_claim, listed.leased_by_claim) == (own, own)


class TestQuarantine:
    def test_fails_the_video_with_its_own_reason(self, academy, store):
        one, two = academy.add(until=-1), academy.add(until=-1)
        assert store.quarantine(store.read_videos([one, two]), {one: "first", two: "second"}).ids == [
            one,
            two,
        ]
        assert academy.state(one) == academy.state(two) == ("FAILED", "", False)
        assert academy.sql("SELECT error_reason FROM video_video ORDER BY id") == [("first",), ("second",)]

    def test_is_fenced_like_a_reclaim(self, academy, store):
        video = academy.add()
        seen = store.read_videos([video])
        academy.sql("UPDATE video_video SET leased_by = 'w-2'")
        assert store.quarantine(seen, {seen[0].id: "too often"}).ids == []
        assert academy.state(video) == ("PROCESSING", "w-2", True)

    def test_leaves_what_was_done_meanwhile(self, academy, store):
        video = academy.add("READY", until=-1)
        assert store.quarantine(store.read_videos([video]), {video: "too often"}).ids == []

    def test_a_row_that_somebody_holds_is_left_to_the_next_run(self, academy, store, postgres):
        held, free = academy.add(until=-1), academy.add(until=-1)
        seen = store.read_videos([held, free])
        store._session.fetch("SELECT set_config('lock_timeout', '300ms', false)", {})
        with closing(psycopg2.connect(postgres.dsn)) as other, other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM video_video WHERE id = %s FOR UPDATE", (held,))
            assert store.quarantine(seen, {held: "too often", free: "too often"}).ids == [free]


class TestHandoff:
    def test_reads_what_a_message_needs_of_those_that_carry_the_token(self, academy, store):
        mine, other, claimed = (academy.add(tenant=2, until=-1) for _ in range(3))
        store.lease_for_handoff(store.read_videos([mine, claimed]), token="t", handoff_s=900)
        store.lease_for_handoff(store.read_videos([other]), token="other", handoff_s=900)
        academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w' WHERE id = %s", (claimed,))
        jobs = store.read_handoffs([mine, other, claimed], token="t", handoff_s=900)
        (until,) = academy.sql("SELECT leased_until::text FROM video_video WHERE id = %s", (mine,))[0]
        assert jobs == [Job(mine, "tenants/2/lecture.mp4", 2, "south", until)]

    def test_renews_a_lease_that_is_about_to_run_out(self, academy, store):
        video = academy.add("UPLOADED", by="reclaim:t", until=-3600)
        assert [job.video_id for job in store.read_handoffs([video], token="t", handoff_s=900)] == [video]
        ((left_s,),) = academy.sql("SELECT date_part('epoch', leased_until - now()) FROM video_video")
        assert left_s > 890

    @pytest.mark.parametrize(
        ("left_s", "renewed"),
        [
            pytest.param(800, False, id="fresh"),
            pytest.param(460, False, id="a-little-more-than-half"),
            pytest.param(440, True, id="a-little-less-than-half"),
        ],
    )
    def test_renews_a_lease_with_less_than_half_of_its_term_left(self, academy, store, left_s, renewed):
        video = academy.add("UPLOADED", by="reclaim:t", until=left_s)
        before = academy.rows()
        (job,) = store.read_handoffs([video], token="t", handoff_s=900)
        assert (academy.rows() != before) is renewed
        assert academy.sql("SELECT leased_until::text FROM video_video") == [(job.handoff_until,)]

    def test_renews_no_lease_of_another_execution_and_none_that_it_was_not_asked_about(self, academy, store):
        other = academy.add("UPLOADED", by="reclaim:other", until=10)
        academy.add("UPLOADED", by="reclaim:t", until=10)
        claimed = academy.add(by="reclaim:t", until=10)
        before = academy.rows()
        assert store.read_handoffs([other, claimed], token="t", handoff_s=900) == []
        assert academy.rows() == before

    def test_leaves_out_a_row_that_somebody_holds_and_that_would_have_to_be_renewed(
        self, academy, store, postgres
    ):
        held, short, fresh = (academy.add("UPLOADED", by="reclaim:t", until=left) for left in (10, 10, 900))
        with closing(psycopg2.connect(postgres.dsn)) as other, other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM video_video WHERE id = %s FOR UPDATE", (held,))
            jobs = store.read_handoffs([held, short, fresh], token="t", handoff_s=900)
        assert [job.video_id for job in jobs] == [short, fresh]

    def test_reads_jobs_by_id_each_with_its_own_tenant(self, academy, store):
        last, first = (
            academy.add("UPLOADED", id=n, tenant=t, by="reclaim:t", until=900) for n, t in ((9, 1), (4, 3))
        )
        jobs = store.read_handoffs([last, first], token="t", handoff_s=900)
        assert [(job.video_id, job.tenant_code, job.file_key) for job in jobs] == [
            (first, "west", "tenants/3/lecture.mp4"),
            (last, "north", "tenants/1/lecture.mp4"),
        ]

    def test_clears_only_what_still_carries_the_token(self, academy, store):
        sent, claimed, adopted = (academy.add("UPLOADED", by="reclaim:t", until=900) for _ in range(3))
        jobs = store.read_handoffs([sent, claimed, adopted], token="t", handoff_s=900)
        academy.sql("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w' WHERE id = %s", (claimed,))
        academy.sql("UPDATE video_video SET leased_by = 'reclaim:u' WHERE id = %s", (adopted,))
        assert store.clear_handoffs(jobs, token="t").ids == [sent]
        assert academy.state(sent) == ("UPLOADED", "", False)
        assert academy.state(claimed) == ("PROCESSING", "w", True)
        assert academy.state(adopted) == ("UPLOADED", "reclaim:u", True)

    def test_a_row_that_the_database_refuses_to_clear_does_not_stop_its_neighbours(self, academy, store):
        bad, good = (academy.add("UPLOADED", by="reclaim:t", until=900) for _ in range(2))
        academy.sql(f"ALTER TABLE video_video ADD CONSTRAINT odd CHECK (id <> {bad} OR leased_by <> '')")
        try:
            jobs = store.read_handoffs([bad, good], token="t", handoff_s=900)
            cleared = store.clear_handoffs(jobs, token="t")
        finally:
            academy.sql("ALTER TABLE video_video DROP CONSTRAINT odd")
        assert (cleared.ids, list(cleared.refused)) == ([good], [bad])
        assert "odd" in cleared.refused[bad]
        assert academy.state(bad) == ("UPLOADED", "reclaim:t", True)


class TestBacklog:
    def test_counts_what_waits_and_what_is_being_encoded(self, academy, store):
        for status in ("UPLOADED", "UPLOADED", "PROCESSING", "READY", "FAILED", "PENDING"):
            academy.add(status)
        assert store.measure_backlog() == Backlog(uploaded=2, processing=1)

    def test_no_video_is_no_backlog(self, academy, store):
        academy.add("READY")
        assert store.measure_backlog() == Backlog(0, 0)

    @pytest.mark.parametrize("statement", ["LIST_CANDIDATES", "MEASURE_BACKLOG"])
    def test_plans_use_the_indexes(self, academy, environment, statement):
        from video_reclaim.adapters.postgres import statements

        academy.sql(
            "INSERT INTO video_video (session_id, file_key, status, leased_by, created_at, updated_at)"
            " SELECT 21, 'k', 'READY', '', now(), now() FROM generate_series(1, 20000)"
        )
        academy.add(until=-1)
        academy.sql("VACUUM ANALYZE video_video")
        plan = "\n".join(
            row[0]
            for row in academy.sql(
                f"EXPLAIN {getattr(statements, statement)}", {"max_waiting": 10, "max_rows": 10_001}
            )
        )
        assert "Seq Scan on video_video" not in plan


class TestErrors:
    def test_a_refused_connection_is_a_named_error(self, academy, environment):
        environment.setenv("DATABASE_PORT", "1")
        with pytest.raises(StoreUnavailable, match="PostgreSQL: "):
            listed(Store(read(Database)))

    def test_a_kept_connection_that_died_is_opened_anew(self, academy, store):
        store.measure_backlog()
        academy.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'video-reclaim'"
        )
        assert store.measure_backlog().uploaded == 0

    def test_a_missing_table_is_refused_and_named(self, academy, store):
        academy.sql("ALTER TABLE core_tenant RENAME TO elsewhere")
        try:
            with pytest.raises(StoreRefused, match="core_tenant"):
                listed(store)
        finally:
            academy.sql("ALTER TABLE elsewhere RENAME TO core_tenant")

    def test_a_statement_that_takes_too_long_is_ended_and_the_connection_kept(self, academy, environment):
        environment.setenv("DATABASE_STATEMENT_SECONDS", "1")
        store = Store(read(Database))
        store.measure_backlog()
        kept = store._session._connection
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            store._session.fetch("SELECT pg_sleep(5)", {})
        assert store._session._connection is kept
        assert store.measure_backlog().uploaded == 0
