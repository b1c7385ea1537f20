import pytest

from video_reclaim.rules.batching import batches


@pytest.mark.parametrize(
    ("count", "items", "largest"),
    [
        pytest.param(0, 0, 0, id="no-videos"),
        pytest.param(1, 1, 1, id="one-video"),
        pytest.param(40, 40, 1, id="40-videos-are-40-items-of-one"),
        pytest.param(41, 21, 2, id="41-videos-are-items-of-two"),
        pytest.param(80, 40, 2, id="80-videos-are-40-items-of-two"),
        pytest.param(4_000, 40, 100, id="4000-videos-are-40-items-of-100"),
        pytest.param(4_001, 41, 100, id="more-than-4000-videos-make-more-than-40-items"),
        pytest.param(10_000, 100, 100, id="10000-videos-the-limit-of-a-run"),
    ],
)
def test_number_and_size_of_map_items(count, items, largest):
    made = batches(range(count))
    assert len(made) == items
    assert max(map(len, made), default=0) == largest
    assert [video_id for batch in made for video_id in batch] == list(range(count))
