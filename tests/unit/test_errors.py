import pytest

from video_reclaim.errors import StoreUnavailable, naming, naming_its_videos


def test_message_names_each_failed_video_with_its_reason():
    assert naming({3: "gone", 5: "denied"}) == "2 videos failed: 3 (gone), 5 (denied)"


def test_message_groups_videos_by_reason():
    assert naming({3: "gone", 4: "denied", 5: "gone"}) == "3 videos failed: 3, 5 (gone), 4 (denied)"


def test_message_uses_the_singular_for_one_video():
    assert naming({3: "gone"}) == "1 video failed: 3 (gone)"


def test_message_names_at_most_20_videos_and_counts_the_rest():
    text = naming(dict.fromkeys(range(100), "gone"))
    assert text.startswith("100 videos failed: 0, 1, 2, ")
    assert text.endswith(", 19 (gone), and 80 more")


def test_store_unavailable_is_raised_again_with_the_videos_of_the_event():
    @naming_its_videos
    def handler(_event, _context):
        raise StoreUnavailable("PostgreSQL: gone")

    with pytest.raises(StoreUnavailable, match=r"^2 videos failed: 7, 9 \(PostgreSQL: gone\)$"):
        handler({"videos": [7, 9]}, None)
