"""A worker that finishes its video when its EC2 instance is chosen by a scale-in, and then lets the instance go."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from dev.local.worker.contract import FAILURES, Worker
from dev.local.worker.pace import Job

if TYPE_CHECKING:
    from mypy_boto3_autoscaling import AutoScalingClient

_TARGET = "latest/meta-data/autoscaling/target-lifecycle-state"
_TOKEN_FOR_S = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
_BEAT_EVERY_S, _COMPLETE_ATTEMPTS = 60, 10


@dataclass(frozen=True, slots=True)
class Instance:
    """The EC2 instance that a worker runs on."""

    id: str  # its id
    group: str  # the name of its Auto Scaling group
    hook: str  # the name of the group's termination lifecycle hook
    autoscaling: "AutoScalingClient"  # a client for Auto Scaling
    metadata_url: str = "http://169.254.169.254"  # address of the instance metadata service

    def is_leaving(self) -> bool:
        """Return whether the group is ending the instance.

        Without an answer it counts as staying: a worker that goes on working loses nothing, since the hook then
        times out and the instance is retained.
        """
        try:
            token = self._ask("PUT", "latest/api/token", _TOKEN_FOR_S)
            return self._ask("GET", _TARGET, {"X-aws-ec2-metadata-token": token}) == "Terminated"
        except urllib.error.HTTPError as refused:
            refused.close()
        except (OSError, HTTPException):
            pass
        return False

    def beat(self) -> None:
        """Extend the lifecycle action by the hook's HeartbeatTimeout. Raises botocore's errors."""
        self.autoscaling.record_lifecycle_action_heartbeat(**self._action())

    def let_go(self) -> None:
        """Complete the lifecycle action, upon which the group ends the instance. Raises botocore's errors."""
        self.autoscaling.complete_lifecycle_action(**self._action(), LifecycleActionResult="CONTINUE")

    def _action(self) -> Any:  # noqa: ANN401 - the arguments that both calls share
        return {"AutoScalingGroupName": self.group, "LifecycleHookName": self.hook, "InstanceId": self.id}

    def _ask(self, method: str, item: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self.metadata_url}/{item}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=2) as answer:
            return str(answer.read().decode())


@dataclass(kw_only=True, eq=False)
class DrainingWorker(Worker):
    """A `Worker` on an EC2 instance of a group with a termination lifecycle hook."""

    instance: Instance
    _action_due_s: float = 0

    def receive(self, *, wait_s: int = 0) -> Job | None:
        """Receive as `Worker.receive` does, but nothing once the instance is leaving: then `run` ends."""
        if self.instance.is_leaving():
            self.stop()
            return None
        return super().receive(wait_s=wait_s)

    def beat(self, job: Job, *, progress: bool = False) -> bool:
        """Write the heartbeat of the video, and that of the lifecycle action while the instance is leaving."""
        written = super().beat(job, progress=progress)
        if self.now() >= self._action_due_s and self.instance.is_leaving():
            self._action_due_s = self.now() + self.pace.real_s(_BEAT_EVERY_S)
            self._call("actionBeat", self.instance.beat)
        return written

    def run(self, *, poll_s: int = 1, max_jobs: int | None = None) -> None:
        """Work as `Worker.run` does; at the end let the instance go, if it is leaving."""
        super().run(poll_s=poll_s, max_jobs=max_jobs)
        attempts = _COMPLETE_ATTEMPTS if self.instance.is_leaving() else 0
        # The metadata may change before the action begins; the first attempts then come too early.
        while attempts and not self._call("instanceReleased", self.instance.let_go):
            attempts -= 1
            self.sleep(self.pace.real_s(self.pace.beat_every_s))

    def _call(self, event: str, call: Callable[[], None]) -> bool:
        try:
            call()
        except FAILURES as exc:
            self._record(f"{event}Failed", cause=str(exc))
            return False
        self._record(event)
        return True
