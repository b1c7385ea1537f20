import pytest

from video_reclaim.rules.batching import batches


@pytest.mark.parametrize(
    ("count", "items", "largest"),
    [
        pytest.param(0, 0, 0, id="none"),
        pytest.param(1, 1, 1, id="one"),
        pytest.param(40, 40, 1, id="forty-are-single-items"),
        pytest.param(41, 21, 2, id="one-more-makes-pairs"),
        pytest.param(80, 40, 2, id="pairs"),
        pytest.param(4_000, 40, 100, id="forty-full-batches"),
        pytest.param(4_001, 41, 100, id="a-batch-never-exceeds-a-hundred"),
        pytest.param(10_000, 100, 100, id="the-most-a-run-takes"),
    ],
)
def test_items_and_their_size(count, items, largest):
    made = batches(range(count))
    assert len(made) == items
    assert max(map(len, made), default=0) == largest
    assert [video_id for batch in made for video_id in batch] == list(range(count))
