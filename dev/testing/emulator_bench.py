"""A bare emulator for the tests of the emulator itself: functions are a few lines, machines a few states."""

import io
import itertools
import json
import time
import zipfile

import pytest

from dev.local.emulator import Emulator
from dev.local.stack import Clients

ROLE = "arn:aws:iam::000000000000:role/any"


class Bench:
    """Makes functions and state machines on one emulator, and runs them."""

    _numbers = itertools.count()

    def __init__(self, emulator):
        self.emulator = emulator
        self.clients = Clients(emulator.endpoint_url)

    def name(self):
        """Return a name that no other test uses."""
        return f"made-{next(self._numbers)}"

    def function(self, source, **settings):
        """Make a function from the source of a module with ``handler(event, context)``; return its ARN."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("index.py", source)
        made = self.clients.functions.create_function(
            **{
                "FunctionName": self.name(),
                "Runtime": "python3.13",
                "Handler": "index.handler",
                "Role": ROLE,
                "Timeout": 30,
                "Code": {"ZipFile": packed.getvalue()},
                **settings,
            }
        )
        return made["FunctionArn"]

    def call(self, function, payload=None):
        """Invoke a function; return the name of its error or None, and what it answered."""
        answer = self.clients.functions.invoke(FunctionName=function, Payload=json.dumps(payload or {}))
        return answer.get("FunctionError"), json.loads(answer["Payload"].read())

    def machine(self, states):
        """Make a JSONata state machine that starts at the first of ``states``; return its ARN."""
        definition = {"QueryLanguage": "JSONata", "StartAt": next(iter(states)), "States": states}
        return self.clients.stepfunctions.create_state_machine(
            name=self.name(), definition=json.dumps(definition), roleArn=ROLE
        )["stateMachineArn"]

    def start(self, machine, given=None):
        started = self.clients.stepfunctions.start_execution(
            stateMachineArn=machine, input=json.dumps(given or {})
        )
        return started["executionArn"]

    def describe(self, execution):
        return self.clients.stepfunctions.describe_execution(executionArn=execution)

    def ended(self, execution):
        """Wait until an execution has ended and describe it."""
        return self.until(lambda: (shown := self.describe(execution))["status"] != "RUNNING" and shown)

    def run(self, machine, given=None):
        return self.ended(self.start(machine, given))

    def redrive(self, execution):
        self.clients.stepfunctions.redrive_execution(executionArn=execution)

    @staticmethod
    def task(function, then=None, payload="{% $states.input %}", **settings):
        """Return a Task state that hands ``payload`` to a function and outputs what that answers."""
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": function, "Payload": payload},
            "Output": "{% $states.result.Payload %}",
            **({"Next": then} if then else {"End": True}),
            **settings,
        }

    @staticmethod
    def until(condition, limit_s=180):
        """Wait for ``condition()`` to give something true and return that."""
        give_up = time.monotonic() + limit_s
        while not (result := condition()):
            assert time.monotonic() < give_up, "what the test waits for did not happen"
            time.sleep(0.02)
        return result


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """One emulator for the session, in which waits take a hundredth of their time."""
    with Emulator(tmp_path_factory.mktemp("emulator"), wait_scale=0.01) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def bench(emulator):
    """A bench on the session's emulator; what tests make there bears names of its own."""
    return Bench(emulator)
