import pytest

from video_reclaim.rules.handoff import token_for
from video_reclaim.rules.staleness import HANDOFF_PREFIX

MACHINE = "arn:aws:states:eu-west-1:123456789012:execution:reclaim-videos"


def test_the_same_execution_has_the_same_token():
    assert token_for(f"{MACHINE}:abc") == token_for(f"{MACHINE}:abc")


def test_the_name_can_be_read_from_the_token():
    name = "1f0c9a52-6f4e-4d0a-9c3b-2b7d1f1d6a11"
    assert token_for(f"{MACHINE}:{name}").startswith(f"{name}.")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(f"{MACHINE}-two:{'x' * 80}", id="same-name-on-another-machine"),
        pytest.param(f"{MACHINE}:{'x' * 79}y", id="same-beginning"),
    ],
)
def test_different_executions_have_different_tokens(other):
    assert token_for(f"{MACHINE}:{'x' * 80}") != token_for(other)


def test_the_longest_token_fits_into_leased_by():
    assert len(HANDOFF_PREFIX + token_for(f"{MACHINE}:{'x' * 80}")) == 64


@pytest.mark.parametrize("text", ["", "abc", "arn:aws:states:"])
def test_refuses_what_is_no_arn(text):
    with pytest.raises(ValueError, match="not the ARN of an execution"):
        token_for(text)
