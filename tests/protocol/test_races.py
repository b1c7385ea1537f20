"""Races for one row's lock, on threads and sessions of a real PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from video_reclaim.adapters.postgres import store as store_module
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.errors import StoreRefused, StoreUnavailable
from video_reclaim.rules.reclaiming import Written
from video_reclaim.settings import Database, read


@pytest.fixture
def store(academy, environment):
    return Store(read(Database))


@pytest.fixture
def in_thread():
    with ThreadPoolExecutor(4) as threads:
        yield threads.submit


def test_two_executions_never_take_the_same_video(academy, environment, in_thread):
    stores = [Store(read(Database)) for _ in range(2)]
    for round_ in range(15):
        videos = [academy.add(until=-1) for _ in range(40)]
        seen = [store.read_videos(videos) for store in stores]
        start = threading.Barrier(2)

        def take(index, seen=seen, start=start, round_=round_):
            start.wait()
            return stores[index].lease_for_handoff(seen[index], token=f"{index}-{round_}", handoff_s=900).ids

        first, second = (take_.result() for take_ in [in_thread(take, 0), in_thread(take, 1)])
        assert sorted(first + second) == videos


def test_a_locked_row_does_not_hold_up_the_others(academy, store, session):
    locked, free = academy.add(until=-1), academy.add(until=-1)
    seen = store.read_videos([locked, free])
    store._session.fetch("SELECT set_config('lock_timeout', '300ms', false)", {})
    with session() as worker, worker.cursor() as cursor:
        cursor.execute("UPDATE video_video SET status = 'READY' WHERE id = %s", (locked,))
        leased = failing_softly(store.lease_for_handoff, seen, token="t", handoff_s=900)
        assert leased and leased.ids == [free]


def test_a_claim_that_commits_first_keeps_its_video(academy, store, session, in_thread):
    """Workers renew their leases as fast as they can, while executions take what they saw expired."""
    videos = [academy.add(until=-1) for _ in range(300)]
    seen = store.read_videos(videos)
    start = threading.Barrier(2)

    def renew():
        worker, renewed = session("worker"), []
        worker.autocommit = True
        start.wait()
        with worker.cursor() as cursor:
            for video in reversed(videos):
                cursor.execute(
                    "UPDATE video_video SET leased_by = 'alive', leased_until = now() + interval '4 hours'"
                    " WHERE id = %s AND status = 'PROCESSING'",
                    (video,),
                )
                renewed += [video] * cursor.rowcount
        return renewed

    renewing = in_thread(renew)
    start.wait()
    taken = []
    for first in range(0, len(seen), 5):
        taken += store.lease_for_handoff(seen[first : first + 5], token="t", handoff_s=900).ids
    renewed = renewing.result()
    assert not set(taken) & set(renewed)
    assert {academy.state(video)[:2] for video in renewed} <= {("PROCESSING", "alive")}


@pytest.fixture
def pauses(monkeypatch):
    """What happens in the pauses between attempts to renew or to clear; the pauses take no time."""
    actions = []
    slept_s = []

    def sleep(seconds):
        slept_s.append(seconds)
        if actions:
            actions.pop(0)()

    monkeypatch.setattr(store_module, "time", SimpleNamespace(sleep=sleep))
    yield actions
    assert sum(slept_s) <= 10, "the function has a minute, and 20 s of it are for sending"


def test_a_video_that_another_execution_is_adopting_is_not_read_for_sending(academy, store, session, pauses):
    """An execution from days ago is redriven just as another adopts its orphan."""
    orphan, other = (academy.add("UPLOADED", by="reclaim:old", until=-1) for _ in range(2))
    with session() as adopter, adopter.cursor() as cursor:
        cursor.execute(
            "UPDATE video_video SET leased_by = 'reclaim:new', leased_until = now() + interval '900 s'"
            " WHERE id = %s",
            (orphan,),
        )
        jobs = store.read_handoffs([orphan, other], token="old", handoff_s=900)
        assert [job.video_id for job in jobs] == [other]
        adopter.commit()
    assert store.read_handoffs([orphan], token="old", handoff_s=900) == []


def test_a_video_is_read_for_sending_again_after_its_adoption_is_rolled_back(academy, store, session, pauses):
    video = academy.add("UPLOADED", by="reclaim:old", until=-1)
    with session() as adopter, adopter.cursor() as cursor:
        cursor.execute("UPDATE video_video SET leased_by = 'reclaim:new'")
        assert store.read_handoffs([video], token="old", handoff_s=900) == []
        adopter.rollback()
    assert [job.video_id for job in store.read_handoffs([video], token="old", handoff_s=900)] == [video]


def test_a_handoff_that_was_renewed_for_sending_is_not_adopted(academy, store):
    """Listed as an orphan, renewed by its first owner, and only then taken by the adopter."""
    video = academy.add("UPLOADED", by="reclaim:old", until=-1)
    seen = store.read_videos([video])
    assert len(store.read_handoffs([video], token="old", handoff_s=900)) == 1
    assert store.lease_for_handoff(seen, token="new", handoff_s=900).ids == []
    assert not store.read_videos([video])[0].lease_expired


def test_a_claim_between_sending_and_clearing_keeps_its_lease(academy, store, session, pauses):
    video = academy.add("UPLOADED", by="reclaim:t", until=900)
    jobs = store.read_handoffs([video], token="t", handoff_s=900)
    with session("worker") as worker, worker.cursor() as cursor:
        cursor.execute("UPDATE video_video SET status = 'PROCESSING', leased_by = 'w'")
        pauses.append(worker.commit)
        assert store.clear_handoffs(jobs, token="t").ids == []
    assert academy.state(video) == ("PROCESSING", "w", True)


def test_a_row_that_is_locked_for_a_while_is_cleared_in_the_end(academy, store, session, pauses):
    locked, free = (academy.add("UPLOADED", by="reclaim:t", until=900) for _ in range(2))
    jobs = store.read_handoffs([locked, free], token="t", handoff_s=900)
    with session("platform") as platform, platform.cursor() as cursor:
        cursor.execute("UPDATE video_video SET title = 'new' WHERE id = %s", (locked,))
        pauses += [lambda: None, platform.commit]
        assert sorted(store.clear_handoffs(jobs, token="t").ids) == [locked, free]
    assert academy.state(locked) == academy.state(free) == ("UPLOADED", "", False)


def test_a_row_that_stays_locked_keeps_its_token_and_holds_up_no_other(academy, store, session, pauses):
    locked, free = (academy.add("UPLOADED", by="reclaim:t", until=900) for _ in range(2))
    jobs = store.read_handoffs([locked, free], token="t", handoff_s=900)
    with session("platform") as platform, platform.cursor() as cursor:
        cursor.execute("UPDATE video_video SET title = 'new' WHERE id = %s", (locked,))
        assert clear_soon(store, jobs).ids == [free]
    assert academy.state(free) == ("UPLOADED", "", False)
    assert academy.state(locked) == ("UPLOADED", "reclaim:t", True)


def test_a_row_that_stays_locked_is_not_renewed_and_holds_up_no_other(academy, store, session, pauses):
    locked, free = (academy.add("UPLOADED", by="reclaim:t", until=10) for _ in range(2))
    store._session.fetch("SELECT set_config('lock_timeout', '300ms', false)", {})
    with session("platform") as platform, platform.cursor() as cursor:
        cursor.execute("UPDATE video_video SET title = 'new' WHERE id = %s", (locked,))
        jobs = failing_softly(store.read_handoffs, [locked, free], token="t", handoff_s=900)
        assert [job.video_id for job in jobs] == [free]


def clear_soon(store, jobs):
    """Clear, but don't wait for a lock for more than 0.3 s; return what comes of it."""
    store._session.fetch("SELECT set_config('lock_timeout', '300ms', false)", {})
    return failing_softly(store.clear_handoffs, jobs, token="t")


def failing_softly(call, *given, **named):
    """Return the result of a call; nothing if it failed, so that an assertion tells the difference."""
    try:
        return call(*given, **named)
    except (StoreRefused, StoreUnavailable):
        return Written() if call.__name__ == "clear_handoffs" else []


def test_a_later_handoff_of_the_same_execution_is_not_cleared_for_an_earlier_one(academy, store):
    """An invocation that was given up clears at last; meanwhile its execution has taken the video again."""
    video = academy.add("UPLOADED", by="reclaim:t", until=900)
    late = store.read_handoffs([video], token="t", handoff_s=900)
    store.clear_handoffs(store.read_handoffs([video], token="t", handoff_s=900), token="t")
    academy.sql(
        "UPDATE video_video SET status = 'PROCESSING', leased_by = 'dead', leased_until = '2020-01-01'"
    )
    assert store.lease_for_handoff(store.read_videos([video]), token="t", handoff_s=900).ids == [video]
    assert store.clear_handoffs(late, token="t").ids == []
    assert academy.state(video) == ("UPLOADED", "reclaim:t", True)


def test_a_claim_without_a_lease_before_the_clearing_leaves_no_token_behind(academy, store, pauses):
    """A worker on the older path claims at once, and a user sends the video again while it is being encoded."""
    video = academy.add("UPLOADED", by="reclaim:t", until=900)
    jobs = store.read_handoffs([video], token="t", handoff_s=900)
    academy.sql("UPDATE video_video SET status = 'PROCESSING', processing_started_at = now()")
    assert store.clear_handoffs(jobs, token="t").ids == [video]
    assert academy.state(video) == ("PROCESSING", "", False)
    academy.sql("UPDATE video_video SET status = 'UPLOADED'")
    (seen,) = store.read_videos([video])
    assert seen.waits


def test_a_worker_without_a_lease_keeps_its_video_when_an_uncleared_handoff_ends(academy, store):
    """It leaves leased_by and leased_until as it found them: the handoff's, which then runs out."""
    video = academy.add("UPLOADED", by="reclaim:t", until=900)
    academy.sql("UPDATE video_video SET status = 'PROCESSING', processing_started_at = now()")
    academy.sql("UPDATE video_video SET leased_until = now() - interval '1 hour'")
    (seen,) = store.read_videos([video])
    assert not seen.lease_expired
    academy.sql("UPDATE video_video SET processing_started_at = now()")  # another claim of the same kind
    assert store.lease_for_handoff([seen], token="t", handoff_s=900).ids == []
