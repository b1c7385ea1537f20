import pytest

from video_reclaim.errors import StoreUnavailable, naming, naming_its_videos


def test_a_failure_of_several_names_each_with_its_reason():
    assert naming({3: "gone", 5: "denied"}) == "2 videos failed: 3 (gone), 5 (denied)"


def test_videos_that_failed_for_the_same_reason_stand_together():
    assert naming({3: "gone", 4: "denied", 5: "gone"}) == "3 videos failed: 3, 5 (gone), 4 (denied)"


def test_one_video_is_one_video():
    assert naming({3: "gone"}) == "1 video failed: 3 (gone)"


def test_a_failure_of_very_many_names_the_first_twenty():
    text = naming(dict.fromkeys(range(100), "gone"))
    assert text.startswith("100 videos failed: 0, 1, 2, ")
    assert text.endswith(", 19 (gone), and 80 more")


def test_a_store_that_is_away_is_told_with_the_videos_it_was_about():
    @naming_its_videos
    def handler(_event, _context):
        raise StoreUnavailable("PostgreSQL: gone")

    with pytest.raises(StoreUnavailable, match=r"^2 videos failed: 7, 9 \(PostgreSQL: gone\)$"):
        handler({"videos": [7, 9]}, None)
