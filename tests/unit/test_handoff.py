import pytest

from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.staleness import HANDOFF_PREFIX

MACHINE = "arn:aws:states:eu-west-1:123456789012:execution:reclaim-videos"


def test_same_execution_gets_the_same_token():
    assert token_for(f"{MACHINE}:abc") == token_for(f"{MACHINE}:abc")


def test_token_begins_with_the_execution_name():
    name = "1f0c9a52-6f4e-4d0a-9c3b-2b7d1f1d6a11"
    assert token_for(f"{MACHINE}:{name}").startswith(f"{name}.")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(f"{MACHINE}-two:{'x' * 80}", id="same-name-in-another-state-machine"),
        pytest.param(f"{MACHINE}:{'x' * 79}y", id="names-that-differ-in-the-last-character"),
    ],
)
def test_different_executions_get_different_tokens(other):
    assert token_for(f"{MACHINE}:{'x' * 80}") != token_for(other)


def test_longest_token_with_prefix_fits_the_64_characters_of_leased_by():
    assert len(HANDOFF_PREFIX + token_for(f"{MACHINE}:{'x' * 80}")) == 64


@pytest.mark.parametrize("text", ["", "abc", "arn:aws:states:"])
def test_text_that_is_not_an_execution_arn_is_rejected(text):
    with pytest.raises(ValueError, match="not the ARN of an execution"):
        token_for(text)
