"""Executions of the state machine, as far as the protocol goes: list, reclaim, enqueue, retry, and redrive.

The order of the states is that of the ASL file. Which errors are retried, how often and after how long, is read from
the file. Publishing and scaling are left out: they touch no video.
"""

import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from dev.chaos import product
from dev.chaos.environment import LambdaError, Lambdas

_MACHINE = "arn:aws:states:us-east-1:000000000000:execution:video-reclaim-chaos"


@cache
def _states() -> dict[str, dict[str, Any]]:
    definition = json.loads(product.STATE_MACHINE.read_text())["States"]
    found: dict[str, dict[str, Any]] = {}
    for name, state in definition.items():
        found[name] = state
        found |= state.get("ItemProcessor", {}).get("States", {})
    return found


@dataclass(slots=True)
class _Item:
    """An iteration of the second Map that has not succeeded: where it resumes."""

    videos: list[int]
    unsent: bool
    reclaimed: Mapping[str, Any] | None = None


class Execution:
    """One execution: `run` it, and `redrive` it while it has failed.

    Attributes:
        arn: its ARN, from which its token is made.
        status: RUNNING, SUCCEEDED, or FAILED, also if it was stopped.
        results: the outputs of all items of both Maps so far.
        record: what the last listing made of the run record.
    """

    def __init__(
        self, lambdas: Lambdas, name: str, *, given: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        self.arn = f"{_MACHINE}:{name}"
        self.status = "RUNNING"
        self.results: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {}
        self._lambdas, self._timeline = lambdas, lambdas.environment.timeline
        self._given = dict(given or {})
        self._random = random.Random(seed)
        self._unfinished: list[_Item] = []
        self._confirm_after_s = 0
        self._started_at = datetime.fromtimestamp(self._timeline.now(), UTC).isoformat()
        self._aborted = False

    @property
    def redrivable(self) -> bool:
        """Whether it failed with items that a redrive resumes; a failed listing has none."""
        return self.status == "FAILED" and bool(self._unfinished)

    def abort(self) -> None:
        """Stop it, as an operator or its own timeout does: no further state is entered."""
        self._aborted = True

    def run(self) -> str:
        """Run it to its end; return its status."""
        self.status = self._list()
        return self.status

    def redrive(self) -> str:
        """Resume where it failed; return its status. A failed listing ends in a Fail state and fails again."""
        if self._unfinished:
            self._aborted, self.status = False, "RUNNING"
            self.status = self._retry_failed()
        return self.status

    def _list(self) -> str:
        try:
            payload = {"input": self._given, "run": self.record, "execution": self.arn}
            listing = self._task("ListStaleVideos", payload)
        except LambdaError:
            return "FAILED"
        self.record, self._confirm_after_s = listing["run"], listing["confirmAfterS"]
        results = self._map(self._first_pass, listing["batches"])
        self.results += results
        failed = [result for result in results if result.get("ids")]
        self._unfinished = [_Item(one["ids"], one["error"] == "QueueRefused") for one in failed]
        return self._retry_failed()

    def _first_pass(self, videos: list[int]) -> dict[str, Any]:
        try:
            payload = self._reclaim_payload(videos, fail_on_partial=False, unsent=True)
            reclaimed = self._task("Reclaim", payload)
            videos = reclaimed["videos"]
            return dict(self._task("Enqueue", reclaimed))
        except LambdaError as exc:  # both states catch all errors
            return {"error": exc.name, "ids": videos}

    def _retry_failed(self) -> str:
        left: list[_Item] = []

        def iterate(item: _Item) -> None:
            try:
                if item.reclaimed is None and not left:
                    payload = self._reclaim_payload(item.videos, fail_on_partial=True, unsent=item.unsent)
                    item.reclaimed = self._task("ReclaimAgain", payload)
                if not left:  # once an iteration has failed, Step Functions starts no state in the others
                    self.results.append(self._task("EnqueueAgain", item.reclaimed or {}))
                    return
            except LambdaError:
                pass
            left.append(item)

        self._map(iterate, self._unfinished)
        self._unfinished = left
        if left:
            return "FAILED"
        if not self._confirm_after_s:
            return "SUCCEEDED"
        self._timeline.sleep(self._confirm_after_s)
        return self._list()

    def _map(self, iterate: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Run a Map's iterations beside each other; return their results in order."""
        return self._timeline.join([self._timeline.start("item", partial(iterate, item)) for item in items])

    def _reclaim_payload(self, videos: list[int], *, fail_on_partial: bool, unsent: bool) -> dict[str, Any]:
        return {
            "videos": videos,
            "input": self._given,
            "execution": self.arn,
            "startedAt": self._started_at,
            "failOnPartial": fail_on_partial,
            "unsent": unsent,
        }

    def _task(self, state: str, payload: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        retriers = [(retrier, itertools.count()) for retrier in _states()[state].get("Retry", [])]
        for retries in itertools.count():
            if self._aborted:
                raise LambdaError("Aborted")
            try:
                return self._lambdas.invoke(state.removesuffix("Again"), {**payload, "retries": retries})
            except LambdaError as exc:
                policy, counter = next((r for r in retriers if exc.name in r[0]["ErrorEquals"]), (None, None))
                attempt = next(counter) if counter else 0
                if policy is None or attempt >= policy["MaxAttempts"]:
                    raise
                wait_s = policy["IntervalSeconds"] * policy.get("BackoffRate", 2) ** attempt
                wait_s = min(wait_s, policy.get("MaxDelaySeconds", wait_s))
                self._timeline.sleep(self._random.uniform(0, wait_s))
