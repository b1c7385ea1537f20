"""The whole stack, deployed once for a session."""

import pytest

from dev.local.launch import running
from tests.e2e.deployed import Deployed


@pytest.fixture(scope="session")
def one_deployed(tmp_path_factory):
    """The whole stack, deployed once for the session; its Step Functions wait a hundredth of their time."""
    with running(tmp_path_factory.mktemp("deployed"), wait_scale=0.01) as started:
        deployed = Deployed(started)
        yield deployed
        deployed.close()


@pytest.fixture(scope="session")
def early_schedule(one_deployed):
    """A copy of the deployed schedule, made as soon as the stack is there: its first start takes a minute.

    It asks for dry runs, so that it disturbs no other test. Give the moment at which it was made.
    """
    scheduler = one_deployed.clients.scheduler
    deployed = scheduler.get_schedule(Name=one_deployed.stack.outputs()["ScheduleName"])
    scheduler.create_schedule(
        Name="early",
        ScheduleExpression=deployed["ScheduleExpression"],
        FlexibleTimeWindow=deployed["FlexibleTimeWindow"],
        Target=deployed["Target"] | {"Input": '{"dryRun": true}'},
    )
    return deployed


@pytest.fixture
def deployed(one_deployed, early_schedule):
    """The deployed stack, ready for a test: see `Deployed.reset`."""
    one_deployed.reset()
    return one_deployed
