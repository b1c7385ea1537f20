"""Executions of the state machine, as far as the protocol goes: list, reclaim, enqueue, again, and redrive.

The shape is the ASL's, written out; which errors are retried, how often and after how long, and which are
caught, is read from the file itself. Publishing and scaling are left out: they touch no video.
"""

import contextlib
import itertools
import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dev.chaos.sandbox import LambdaError, Lambdas

_DEFINITION = Path(__file__).resolve().parents[2] / "state_machines/reclaim_videos.asl.json"
_MACHINE = "arn:aws:states:us-east-1:000000000000:execution:video-reclaim-chaos"
_LANES = 5


@cache
def _states() -> dict[str, dict[str, Any]]:
    definition = json.loads(_DEFINITION.read_text())["States"]
    found: dict[str, dict[str, Any]] = {}
    for name, state in definition.items():
        found[name] = state
        found |= state.get("ItemProcessor", {}).get("States", {})
    return found


@dataclass(frozen=True, slots=True)
class _Item:
    """An iteration of the second Map that has not succeeded: where it resumes."""

    videos: list[int]
    reclaimed: Mapping[str, Any] | None = None


class Aborted(Exception):
    """The execution was stopped."""


class Execution:
    """One execution; `run` it, and `redrive` it for as long as it has failed.

    Attributes:
        arn: its name in full, from which its token is made.
        status: RUNNING, SUCCEEDED, FAILED or ABORTED.
    """

    def __init__(
        self, lambdas: Lambdas, name: str, *, given: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        self.arn = f"{_MACHINE}:{name}"
        self.status = "RUNNING"
        self.report: list[dict[str, Any]] = []
        self._lambdas = lambdas
        self._given = dict(given or {})
        self._random = random.Random(seed)
        self._unfinished: list[_Item] = []
        self._listed = False
        self._aborted = threading.Event()

    def abort(self) -> None:
        """Stop it, as an operator or its own timeout does: no further state is entered."""
        self._aborted.set()

    def run(self) -> str:
        """Run it to its end; return its status."""
        with contextlib.suppress(Aborted):
            try:
                listing = self._task("ListStaleVideos", "ListStaleVideos", self._given)
            except LambdaError as exc:
                caught = _caught("ListStaleVideos", exc.name)
                return self._list_again() if caught else self._end("FAILED")
            return self._after_listing(listing)
        return self._end("ABORTED")

    def redrive(self) -> str:
        """Resume where it failed; return its status."""
        self.status = "RUNNING"
        self._aborted.clear()
        with contextlib.suppress(Aborted):
            return self._again(self._unfinished) if self._listed else self._list_again()
        return self._end("ABORTED")

    def _list_again(self) -> str:
        try:
            listing = self._task("ListStaleVideosAgain", "ListStaleVideos", self._given)
        except LambdaError:
            return self._end("FAILED")
        return self._after_listing(listing)

    def _after_listing(self, listing: Mapping[str, Any]) -> str:
        self._listed = True
        with ThreadPoolExecutor(_LANES) as lanes:
            results = list(lanes.map(self._first_pass, listing["batches"]))
        self.report += results
        failed = [result["failed"] for result in results if "failed" in result]
        return self._again([_Item(item["videos"]) for item in failed])

    def _first_pass(self, videos: Sequence[int]) -> dict[str, Any]:
        state, left = "Reclaim", list(videos)
        try:
            taken = self._task("Reclaim", "Reclaim", self._reclaim_payload(videos, insist=False))
            if not taken["videos"]:
                return dict(taken["report"])
            state, left = (
                "Enqueue",
                [*taken["videos"], *taken["report"].get("failed", {"videos": []})["videos"]],
            )
            return dict(self._task("Enqueue", "Enqueue", {**taken, "insist": False}))
        except LambdaError as exc:
            if not _caught(state, exc.name):
                raise
            return {"failed": {"videos": left, "error": exc.name}}

    def _again(self, items: Sequence[_Item]) -> str:
        if not items:
            return self._end("SUCCEEDED")
        stop = threading.Event()
        left: list[_Item] = []

        def iterate(item: _Item) -> None:
            taken = item.reclaimed
            try:
                if stop.is_set():  # one iteration has failed: Step Functions starts no state in the others
                    left.append(item)
                    return
                if taken is None:
                    payload = self._reclaim_payload(item.videos, insist=True)
                    taken = self._task("ReclaimAgain", "Reclaim", payload)
                if taken["videos"]:
                    if stop.is_set():
                        left.append(_Item(item.videos, taken))
                        return
                    self.report.append(self._task("EnqueueAgain", "Enqueue", {**taken, "insist": True}))
            except LambdaError:
                left.append(_Item(item.videos, taken))
                stop.set()

        with ThreadPoolExecutor(_LANES) as lanes:
            list(lanes.map(iterate, items))
        self._unfinished = left
        return self._end("FAILED" if left else "SUCCEEDED")

    def _reclaim_payload(self, videos: Sequence[int], *, insist: bool) -> dict[str, Any]:
        return {"videos": list(videos), "execution": self.arn, "insist": insist}

    def _task(self, state: str, step: str, payload: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        retriers = [(retrier, itertools.count()) for retrier in _states()[state].get("Retry", [])]
        while True:
            if self._aborted.is_set():
                raise Aborted
            try:
                return self._lambdas.invoke(step, payload)
            except LambdaError as exc:
                retrier = next((r for r in retriers if exc.name in r[0]["ErrorEquals"]), None)
                if retrier is None:
                    raise
                policy, counter = retrier
                attempt = next(counter)
                if attempt >= policy["MaxAttempts"]:
                    raise
                wait_s = min(
                    policy["IntervalSeconds"] * policy["BackoffRate"] ** attempt, policy["MaxDelaySeconds"]
                )
                time.sleep(self._random.uniform(0, wait_s) * self._lambdas.world.timing.retry_scale)

    def _end(self, status: str) -> str:
        self.status = status
        return status


def _caught(state: str, error: str) -> bool:
    return any(
        error in catcher["ErrorEquals"] or "States.ALL" in catcher["ErrorEquals"]
        for catcher in _states()[state].get("Catch", [])
    )
