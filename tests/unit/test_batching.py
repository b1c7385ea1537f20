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
        pytest.param(6_000, 40, 150, id="6000-videos-are-40-items-of-150"),
        pytest.param(6_001, 41, 150, id="more-than-6000-videos-make-more-than-40-items"),
        pytest.param(10_000, 67, 150, id="10000-videos-the-limit-of-a-run"),
    ],
)
def test_number_and_size_of_map_items(count, items, largest):
    made = batches(range(count))
    assert len(made) == items
    assert max(map(len, made), default=0) == largest
    assert [video_id for batch in made for video_id in batch] == list(range(count))
