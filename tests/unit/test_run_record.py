from video_reclaim.run_record import extend, total

BEGUN = {"dryRun": False, "stale": {"leaseExpired": 3}, "heartbeatsTrusted": True}


def test_items_add_up():
    assert total(
        [
            {"reclaimed": 2, "quarantined": 1, "skipped": {"movedOn": 1}, "enqueued": 2},
            {"reclaimed": 1, "quarantined": 0, "skipped": {"movedOn": 2, "beating": 1}},
            {"failed": {"videos": [7, 8], "error": "QueueUnavailable"}},
            {
                "reclaimed": 1,
                "enqueued": 0,
                "skipped": {},
                "failed": {"videos": [9], "error": "StoreRefused"},
            },
        ]
    ) == {
        "reclaimed": 4,
        "enqueued": 2,
        "quarantined": 1,
        "skipped": {"movedOn": 3, "beating": 1},
        "failed": {"QueueUnavailable": 2, "StoreRefused": 1},
    }


def test_no_item_adds_up_to_nothing():
    assert total([]) == {"reclaimed": 0, "enqueued": 0, "quarantined": 0, "skipped": {}, "failed": {}}


def test_the_first_pass_keeps_what_the_listing_said():
    run = extend(BEGUN, total([{"reclaimed": 1, "enqueued": 1, "skipped": {}}]), retried=False)
    assert run == {
        **BEGUN,
        "reclaimed": 1,
        "enqueued": 1,
        "quarantined": 0,
        "skipped": {},
        "failed": {},
    }


def test_what_failed_first_and_succeeded_later_is_recovered():
    first = extend(BEGUN, total([{"failed": {"videos": [1, 2], "error": "QueueUnavailable"}}]), retried=False)
    assert first["failed"] == {"QueueUnavailable": 2}
    second = extend(first, total([{"reclaimed": 0, "enqueued": 2, "skipped": {"movedOn": 1}}]), retried=True)
    assert (second["failed"], second["recovered"], second["enqueued"]) == ({}, 2, 2)


def test_both_passes_at_once_when_the_first_could_not_be_published():
    results = [{"failed": {"videos": [1], "error": "StoreUnavailable"}}, {"reclaimed": 1, "enqueued": 1}]
    run = extend(BEGUN, total(results), retried=True)
    assert (run["failed"], run["recovered"], run["reclaimed"]) == ({}, 1, 1)
