"""Time that passes without waiting, and the parties that live in it, one of which runs at a time.

Real servers take part: PostgreSQL's ``now()`` is moved by a function of the same name that is found first, and
what expires in Redis is brought forward by as much. So hours pass in seconds, each wait has its real length, and
nothing depends on how fast the machine is.
"""

import contextlib
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any

import psycopg2
import redis

_INSTALL = """
CREATE SCHEMA clock;
CREATE TABLE clock.ahead (seconds double precision NOT NULL);
INSERT INTO clock.ahead VALUES (0);
CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql AS
    'SELECT pg_catalog.now() + make_interval(secs => (SELECT seconds FROM clock.ahead))';
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => (SELECT seconds FROM clock.ahead))';
ALTER DATABASE academy SET search_path = public, clock, pg_catalog;
"""
_REMOVE = "ALTER DATABASE academy RESET search_path; DROP SCHEMA clock CASCADE"
_BRING_FORWARD = """
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
"""


class Killed(BaseException):
    """The party has ended here. A BaseException, so that nothing catches it by accident."""


class Party:
    """Something that goes on beside others: a worker, an execution, an invocation.

    Attributes:
        name: for people.
        not_before: it does nothing before this time.
        ended: it has.
        error: what it raised, if it did.
    """

    def __init__(self, name: str, work: Callable[[], object], switch: threading.Semaphore) -> None:
        self.name, self.not_before = name, 0.0
        self.killed = self.ended = False
        self.error: BaseException | None = None
        self._work, self._switch = work, switch
        self._turn = threading.Semaphore(0)
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def take_turn(self) -> None:
        """Let it go on until it sleeps or ends; called by whoever runs the schedule."""
        self._turn.release()
        self._switch.acquire()

    def yield_turn(self) -> None:
        """Stop here until the next turn; called by the party itself. Raises Killed."""
        self._switch.release()
        self._turn.acquire()
        if self.killed:
            raise Killed

    def _live(self) -> None:
        _running.party = self
        self._turn.acquire()
        try:
            if not self.killed:
                self._work()
        except Killed:
            pass
        except BaseException as exc:
            self.error = exc
        self.ended = True
        self._switch.release()


_running = threading.local()


def current() -> Party | None:
    """Return the party that this thread is; None for whoever runs the schedule, and for threads of others."""
    return getattr(_running, "party", None)


class Schedule:
    """The time, and what is due when. One thread makes it, and runs it by sleeping or waiting."""

    def __init__(self, dsn: str, *redis_urls: str) -> None:
        """Prepare; time is real until `install`, and stands still for nobody."""
        self._dsn = dsn
        self._clients = [redis.Redis.from_url(url) for url in redis_urls]
        self.ahead_s = 0.0
        self._due: list[tuple[float, int, Party]] = []
        self._waiting: list[tuple[Callable[[], bool], Party]] = []
        self._order = itertools.count()
        self._random = random.Random(0)  # fractions of seconds, which tell one claim from another
        self._switch = threading.Semaphore(0)
        self._owner = threading.current_thread()
        self._session: Any = None

    def install(self) -> None:
        """Make the database's clock one that can be moved; it is for all connections opened from now on."""
        self._sql(_INSTALL)

    def remove(self) -> None:
        """Undo `install`."""
        self._sql(_REMOVE)
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections, which are opened again when they are needed."""
        for client in self._clients:
            client.close()
        if self._session is not None:
            self._session.close()
        self._session = None

    def now(self) -> float:
        """Return the time for everybody here, seconds since the epoch."""
        return time.time() + self.ahead_s

    def start(self, name: str, work: Callable[[], object], *, in_s: float = 0.0) -> Party:
        """Let a party begin ``in_s`` seconds from now."""
        party = Party(name, work, self._switch)
        self._push(party, self._after(in_s))
        return party

    def kill(self, party: Party) -> None:
        """End a party wherever it is; one that kills itself doesn't return from here."""
        party.killed = True
        if party is current():
            raise Killed
        party.not_before = 0.0
        self._push(party, self.now())

    def end(self) -> None:
        """Kill every party that has not ended."""
        parties = {party for _, _, party in self._due} | {party for _, party in self._waiting}
        for party in parties:
            self.kill(party)
        self.wait(lambda: all(party.ended for party in parties))

    def sleep(self, seconds: float) -> None:
        """Let time pass for the caller, during which others go on. Raises Killed."""
        until, party = self.now() + seconds, current()
        if party is not None:
            self._push(party, self._after(seconds))
            party.yield_turn()
        elif threading.current_thread() is self._owner:
            self._run(lambda: self.now() >= until, until)
        # A thread of the product's own, for which its function waits: it goes on at once.

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something is so, during which others go on."""
        party = current()
        if party is None:
            return self._run(done, float("inf"))
        while not done():
            self._waiting.append((done, party))
            party.yield_turn()
        return None

    def all_of(self, works: Iterable[Callable[[], Any]], *, at_once: int) -> list[Any]:
        """Do several things, at most so many at a time; return their results in order."""
        results: dict[int, Any] = {}
        todo = iter(list(enumerate(works)))

        def lane() -> None:
            for number, work in todo:
                results[number] = work()

        self.join([self.start(f"lane {number}", lane) for number in range(at_once)])
        return [results[number] for number in sorted(results)]

    def join(self, parties: Sequence[Party]) -> None:
        """Wait for parties to end; raise what the first of them raised."""
        self.wait(lambda: all(party.ended for party in parties))
        for party in parties:
            if party.error is not None:
                raise party.error

    def pass_time(self, seconds: float) -> None:
        """Make it later for everybody at once; nobody acts meanwhile."""
        self.ahead_s += seconds
        self._sql("UPDATE clock.ahead SET seconds = %s", self.ahead_s)
        for client in self._clients:
            with contextlib.suppress(redis.ReadOnlyError):
                client.eval(_BRING_FORWARD, 0, round(seconds * 1000))

    def _after(self, seconds: float) -> float:
        """Return the time in so many seconds, rounded up to whole ones: time passes in seconds."""
        return ceil(self.now() + seconds) if seconds > 0 else self.now()

    def _push(self, party: Party, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), party))

    def _run(self, done: Callable[[], bool], until: float) -> None:
        while not done():
            if not self._due or self._due[0][0] > until:
                if until == float("inf"):
                    raise RuntimeError("nobody has anything left to do")
                self.pass_time(max(0.0, until - self.now()))
                return
            at, _, party = heapq.heappop(self._due)
            if party.ended:
                continue
            if party.not_before > at:
                self._push(party, party.not_before)
                continue
            if at > self.now():
                self.pass_time(min(at + self._random.random(), until) - self.now())
            party.take_turn()
            for waiting in [waiting for waiting in self._waiting if waiting[0]()]:
                self._waiting.remove(waiting)
                self._push(waiting[1], self.now())

    def _sql(self, statement: str, *parameters: object) -> None:
        if self._session is None:
            options = "-c default_transaction_read_only=off -c synchronous_commit=off"
            self._session = psycopg2.connect(self._dsn, application_name="clock", options=options)
            self._session.autocommit = True
        with self._session.cursor() as cursor:
            cursor.execute(statement, parameters)
