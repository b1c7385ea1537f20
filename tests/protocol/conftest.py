"""Fixtures of the protocol's tests, and the runs that take a protection away."""

from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest

from dev.testing.protocol_stage import stage, timing
from tests.protocol.protections import PROTECTIONS

__all__ = ["stage", "timing"]

HERE = Path(__file__).parent


@pytest.fixture
def session(postgres):
    """Opens further sessions to the database, each of which is rolled back in the end."""
    with ExitStack() as undo:

        def open_session(name="another"):
            connection = psycopg2.connect(postgres.dsn, application_name=name)
            undo.callback(connection.close)
            return connection

        yield open_session


@pytest.fixture(autouse=True)
def without(request):
    """The protection that this run of a test does without; None in its proper run."""
    return getattr(request, "param", None)


def pytest_generate_tests(metafunc):
    """Run a test that proves protections once more without each of them."""
    name = f"{Path(metafunc.definition.path).name}::{metafunc.definition.nodeid.split('::', 1)[1]}"
    proved = [protection for protection in PROTECTIONS if protection.test == name.split("[")[0]]
    if proved:
        metafunc.parametrize(
            "without",
            [None, *proved],
            indirect=True,
            ids=lambda protection: f"without {protection.name}" if protection else "protected",
        )


def pytest_collection_modifyitems(config, items):
    """Of a test with cases, only those go without a protection that the table names."""
    superfluous = [item for item in items if _superfluous(item)]
    if superfluous:
        config.hook.pytest_deselected(items=superfluous)
        items[:] = [item for item in items if item not in superfluous]


def _superfluous(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    without = params.get("without")
    return without is not None and any(params[name] != value for name, value in without.given.items())


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Expect a test to fail where it runs without its protection."""
    params = pyfuncitem.callspec.params if hasattr(pyfuncitem, "callspec") else {}
    protection = params.get("without")
    if protection is None:
        return (yield)
    with protection.taken_away():
        try:
            yield
        except AssertionError:
            return True
    return pytest.fail(f"nothing fails without {protection.name!r}")
