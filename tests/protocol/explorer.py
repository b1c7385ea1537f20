"""Every interleaving of one video's handoff: the real handlers and the real SQL, a call at a time.

Executions, their retries, invocations that live on after Step Functions gave them up, workers that claim, die
and complete, a user at the platform's buttons, and time that passes: `explore` goes through every order in
which their steps can come, up to a budget for each kind, and finds each state that must not be.

A handler is suspended between two calls by running it again from its beginning with the answers that it has
had so far: what it does depends on nothing else. What a statement makes of a row is looked up in the real
database once for each row and set of parameters.
"""

import contextlib
import json
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from operator import attrgetter
from unittest import mock

import enqueue
import reclaim
from video_reclaim import log
from video_reclaim.adapters import sqs
from video_reclaim.adapters.postgres import statements, store
from video_reclaim.adapters.postgres.session import Session
from video_reclaim.adapters.postgres.store import Store
from video_reclaim.rules.enqueueing import Sent
from video_reclaim.rules.reclaiming import History
from video_reclaim.rules.staleness import Heartbeat, Strike
from video_reclaim.settings import Database, Queues, Reclaiming, read

VIDEO = 1
NEW = "<new>"
NOBODY = ("UPLOADED", "", None, None)
HANDLERS = {"Reclaim": reclaim.handler, "Enqueue": enqueue.handler}
SENDS = ("accepted", "refused", "accepted, answer lost", "unheard")


class Suspended(BaseException):
    """The handler wants to make its next call."""


@dataclass(frozen=True, eq=False)
class Run:
    """An invocation on its way. ``given`` is its event in JSON, ``answers`` what its calls have come to."""

    execution: str
    step: str
    given: str
    answers: tuple = ()
    abandoned: bool = False
    key: str = field(init=False)

    def __post_init__(self):
        told = (self.execution, self.step, self.given, self.answers, self.abandoned)
        object.__setattr__(self, "key", repr(told))

    def __eq__(self, other):
        return self.key == other.key

    def __hash__(self):
        return hash(self.key)


@dataclass(frozen=True)
class State:
    """The world of one video.

    ``row`` is (status, leased_by, leased_until, processing_started_at), or None once deleted. ``alive``: the
    worker in the row works and is heard. ``sent``: messages accepted since the video was last taken from a
    worker. ``left``: what may still happen, by kind.
    """

    row: tuple | None
    messages: int
    alive: bool
    sent: int
    runs: tuple
    left: tuple
    excused: bool = False

    def spend(self, kind, **changes):
        left = dict(self.left)
        left[kind] -= 1
        return replace(self, left=tuple(sorted(left.items())), **changes)

    def may(self, kind):
        return dict(self.left).get(kind, 0) > 0


@dataclass
class Found:
    states: int = 0
    steps: int = 0
    wrong: list = field(default_factory=list)
    seen: Counter = field(default_factory=Counter)


def future(number):
    return f"2100-01-01 00:00:{number:02d}+00"


def past(number):
    return f"2000-01-01 00:00:{number:02d}+00"


def started(number):
    return f"2020-01-01 00:00:{number:02d}+00"


class Explorer:
    def __init__(self, academy, *, path="leased"):
        self.academy, self.path = academy, path
        self.memo, self.moves = {}, {}
        self.store = _Store(self)
        self.run = None
        self.position = 0

    def begin(self, executions="AB", *, orphan=False, messages=0, **left):
        """The state at the start: the executions have found the video stale, and none has looked yet."""
        row = ("PROCESSING", "worker-0", future(0), started(0))
        if self.path != "leased":
            row = ("PROCESSING", "", None, started(0))
        if orphan:
            row = ("UPLOADED", "reclaim:crashed", past(0), started(0))
        runs = tuple(self.reclaim_run(name) for name in executions)
        excused = bool(messages)  # somebody died between sending and clearing
        return State(row, messages, False, 0, runs, tuple(sorted(left.items())), excused)

    @staticmethod
    def reclaim_run(execution, fail_on_partial=False):
        arn = f"arn:aws:states:::execution:m:{execution}"
        given = {"videos": [VIDEO], "input": {}, "execution": arn, "failOnPartial": fail_on_partial}
        return Run(execution, "Reclaim", json.dumps(given))

    def explore(self, start, *, limit=400_000):
        found = Found()
        came_from = {start: None}
        todo = deque([start])
        with self.installed():
            while todo:
                state = todo.popleft()
                for action, after in self.steps(state):
                    found.steps += 1
                    found.seen[action.split(":")[0]] += 1
                    wrong = self.wrong(action, state, after)
                    if wrong:
                        found.wrong = [wrong, *self.story(came_from, state), action, str(after.row)]
                        return found
                    if after not in came_from:
                        came_from[after] = (state, action)
                        todo.append(after)
                assert len(came_from) < limit, "too many states: give it smaller budgets"
        found.states = len(came_from)
        return found

    @staticmethod
    def story(came_from, state):
        lines = []
        while came_from[state]:
            state, action = came_from[state]
            lines.append(action)
        return lines[::-1]

    # What must not be

    @staticmethod
    def wrong(action, before, after):
        row, product = after.row, action.startswith("function")
        if row and row[0] == "UPLOADED" and not row[1].startswith("reclaim:") and not after.messages:
            return "lost: UPLOADED, no message, and nobody on the way"
        if row and row[1].startswith("reclaim:") and row[2] is None:
            return "stuck: a handoff that never expires"
        if product and before.row != row:
            if before.row is None or before.row[0] not in ("PROCESSING", "UPLOADED"):
                return "resurrected: the product wrote over a video that was done"
            cleared = before.row[1].startswith("reclaim:") and row == ("PROCESSING", "", None, before.row[3])
            if before.row[0] == "PROCESSING" and before.alive and not cleared:
                return "taken: a worker that beats lost its video"
        if after.sent > 1 and not after.excused:
            return "sent twice without a reason"
        return None

    # What may happen next

    def steps(self, state):
        yield from self.by_workers(state)
        yield from self.by_others(state)
        for index, run in enumerate(state.runs):
            choices = SENDS if run.step == "Enqueue" and len(run.answers) == 1 else (None,)
            for choice in choices:
                if choice not in (None, "accepted") and not state.may("sqs"):
                    continue
                yield self.advance(state, index, choice)
            if not run.abandoned and state.may("retries"):
                again = replace(run, answers=())
                runs = self.replaced(state, index, replace(run, abandoned=True), again)
                yield (
                    f"{run.execution} is taken for dead in {run.step}",
                    state.spend("retries", runs=runs, excused=True),
                )

    def by_workers(self, state):
        row = state.row
        if state.messages and state.may("claims"):
            rest = state.spend("claims", messages=state.messages - 1)
            if row and row[0] == "UPLOADED":
                number = dict(state.left)["claims"]
                claimed = {
                    "leased": ("PROCESSING", f"worker-{number}", future(50 + number), started(number)),
                    "unleased": ("PROCESSING", "", None, started(number)),
                    "careless": ("PROCESSING", row[1], row[2], started(number)),
                }[self.path]
                yield "a worker claims", replace(rest, row=claimed, alive=True)
            else:
                yield "a worker refuses a message", rest
        if row and row[0] == "PROCESSING" and state.alive:
            yield "the worker completes", replace(state, row=("READY", "", None, row[3]), alive=False)
            if state.may("deaths"):
                yield "the worker dies", state.spend("deaths", alive=False)
        if row and state.may("zombies"):
            yield (
                "the first worker completes after all",
                state.spend("zombies", row=("READY", "", None, row[3]), alive=False),
            )

    def by_others(self, state):
        row = state.row
        if row and row[1].startswith("reclaim:") and row[2].startswith("21") and state.may("expiries"):
            late = row[2].replace("2100", "2000", 1)
            yield "the handoff expires", state.spend("expiries", row=(*row[:2], late, row[3]), excused=True)
        if row and state.may("deletions"):
            yield "the platform deletes it", state.spend("deletions", row=None, alive=False)
        if row and state.may("manual"):
            yield (
                "the platform retries it",
                state.spend(
                    "manual",
                    row=(*NOBODY[:3], row[3]),
                    alive=False,
                    messages=state.messages + 1,
                    excused=True,
                ),
            )

    @staticmethod
    def replaced(state, index, *runs):
        kept = state.runs[:index] + tuple(runs) + state.runs[index + 1 :]
        return tuple(sorted(kept, key=attrgetter("key")))

    def advance(self, state, index, choice):
        run = state.runs[index]
        key = (run, state.row, state.alive, choice)
        if key not in self.moves:
            self.moves[key] = self.move(*key)
        outcome, answer, row, accepted = self.moves[key]
        if row and NEW in row:
            used = state.row[2] or "", *(other.key for other in state.runs)
            fresh = next(future(n) for n in range(1, 50) if not any(future(n)[4:] in text for text in used))
            row = _with(fresh, row)
            answer = tuple(_with(fresh, r) for r in answer)
        label = f"function: {run.execution} {run.step} {len(run.answers) + 1} {choice or ''}"
        taken = state.row and state.row[0] == "PROCESSING" and row and row[0] == "UPLOADED"
        after = replace(
            state,
            row=row,
            messages=state.messages + accepted,
            sent=min(2, (0 if taken else state.sent) + accepted),
            alive=state.alive and not taken,
        )
        if choice not in (None, "accepted"):
            after = after.spend("sqs", excused=True)
        if outcome is None:
            going_on = replace(run, answers=(*run.answers, answer))
            return label, replace(after, runs=self.replaced(state, index, going_on))
        follow = () if run.abandoned else self.follow(run, outcome, after)
        if follow and follow[0].step == "Reclaim":
            after = after.spend("retries", excused=True)
        return label, replace(after, runs=self.replaced(state, index, *follow))

    def move(self, run, row, alive, choice):
        """A handler's next call: how the handler ended, if it did; the answer, the row, and messages."""
        self.run, self.row, self.alive, self.choice = run, row, alive, choice
        self.position, self.new, self.accepted = 0, None, 0
        outcome = None
        try:
            outcome = ("answered", HANDLERS[run.step](json.loads(run.given), None))
        except Suspended:
            pass
        except Exception as exc:
            outcome = ("failed", type(exc).__name__)
        return outcome, self.new, self.row, self.accepted

    def follow(self, run, outcome, after):
        """What the state machine starts once an invocation has ended."""
        kind, answer = outcome
        if kind == "answered" and run.step == "Reclaim":
            return (Run(run.execution, "Enqueue", json.dumps(answer)),) if answer["videos"] else ()
        if (kind == "failed" or answer.get("ids")) and after.may("retries"):
            return (self.reclaim_run(run.execution, fail_on_partial=True),)
        return ()

    # Calls of a handler

    def answer(self, perform):
        position, self.position = self.position, self.position + 1
        if position < len(self.run.answers):
            return self.run.answers[position]
        if self.new is not None:
            raise Suspended
        self.new = perform()
        return self.new

    def fetch(self, statement, parameters):
        key = (self.row, statement, repr(parameters))
        if key not in self.memo:
            self.memo[key] = self.ask(statement, parameters)
        self.row, rows = self.memo[key]
        return rows

    def ask(self, statement, parameters):
        """What this statement makes of this row, in the real database."""
        self.academy.sql("DELETE FROM video_video")
        if self.row:
            self.academy.sql(
                "INSERT INTO video_video (id, session_id, file_key, status, leased_by, leased_until,"
                " processing_started_at, created_at, updated_at)"
                f" VALUES ({VIDEO}, 21, 'key', %s, %s, %s, %s, '2020-01-01', '2020-01-01')",
                self.row,
            )
        rows = Session.fetch(self.store._session, statement, parameters)
        left = self.academy.sql(
            "SELECT status, leased_by, (leased_until AT TIME ZONE 'UTC')::text || '+00',"
            " (processing_started_at AT TIME ZONE 'UTC')::text || '+00' FROM video_video"
        )
        row = left[0] if left else None
        until = row and row[2]
        if until and until != self.row[2]:
            row = (*row[:2], NEW, row[3])
            rows = [tuple(NEW if value == until else value for value in r) for r in rows]
        if statement == statements.READ_VIDEOS:
            rows = [(*r[:8], 0.0, *r[9:]) for r in rows]
        return row, tuple(map(tuple, rows))

    def send(self, _url, bodies, _delays_s):
        def perform():
            videos = list(bodies)
            if not videos:
                return Sent()
            if self.choice in ("accepted", "accepted, answer lost"):
                self.accepted = len(videos)
            if self.choice == "accepted":
                return Sent(accepted=videos)
            if self.choice == "refused":
                return Sent(refused=dict.fromkeys(videos, "InternalError"))
            return Sent(not_sent=videos, error="no answer")

        return _Sent.of(self.answer(lambda: _Sent.frozen(perform())))

    def read_and_count(self, videos, _claims):
        def perform():
            return tuple((video.id, self.alive, video.lease) for video in videos)

        heard = self.answer(perform)
        beats = {id_: Heartbeat(alive, Strike(-3600.0, lease)) for id_, alive, lease in heard}
        return History(beats, seen_before=True)

    def undo_counts(self, *_):
        pass

    def end_counts(self, *_):
        pass

    def forget_status(self, *_):
        pass

    def prepare_jobs(self, *_):
        return {}

    @contextlib.contextmanager
    def installed(self):
        settings = {
            Reclaiming: Reclaiming(30, 900, 0, 600, 900, "resend", "reclaim"),
            Queues: Queues({"Video": ["queue"]}),
        }
        with contextlib.ExitStack() as undo:

            def put(owner, name, value):
                undo.enter_context(mock.patch.object(owner, name, value))

            put(reclaim, "store", lambda: self.store)
            put(enqueue, "store", lambda: self.store)
            put(reclaim, "heartbeats", lambda: self)
            put(enqueue, "heartbeats", lambda: self)
            put(store, "_LOCKED_ROW_WAITS_S", (0, 0))
            put(store, "_RENEWED_ROW_WAITS_S", (0, 0))
            put(sqs, "send", self.send)
            put(log, "_write", lambda _level, _message, _details: None)
            for module in (reclaim, enqueue):
                put(module, "read", settings.__getitem__)
            yield


def _with(fresh, values):
    return tuple(fresh if value == NEW else value for value in values)


class _Sent:
    """`Sent` in a form that a state can hold."""

    @staticmethod
    def frozen(sent):
        return (tuple(sent.accepted), tuple(sent.refused.items()), tuple(sent.not_sent), sent.error)

    @staticmethod
    def of(frozen):
        accepted, refused, not_sent, error = frozen
        return Sent(list(accepted), dict(refused), list(not_sent), error)


class _Store(Store):
    def __init__(self, explorer):
        self._session = _Session(explorer)


class _Session(Session):
    def __init__(self, explorer):
        super().__init__(read(Database))
        self.explorer = explorer

    def fetch(self, statement, parameters):
        return [
            tuple(row) for row in self.explorer.answer(lambda: self.explorer.fetch(statement, parameters))
        ]
