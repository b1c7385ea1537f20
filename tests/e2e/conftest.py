"""The whole stack, deployed once for a session, with the functions' roles enforced."""

import pytest

from dev.local.launch import running
from tests.e2e.deployed import Deployed


@pytest.fixture(scope="session")
def one_deployed(tmp_path_factory):
    """What `make up` deploys; its Step Functions wait a hundredth of their time."""
    with running(tmp_path_factory.mktemp("deployed"), auth=True, wait_scale=0.01) as started:
        deployed = Deployed(started)
        yield deployed
        deployed.close()


@pytest.fixture
def deployed(one_deployed):
    """The deployed stack, ready for a test: see `Deployed.reset`."""
    one_deployed.reset()
    return one_deployed
