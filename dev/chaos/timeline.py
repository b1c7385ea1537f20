"""Time that passes without waiting, and the parties that live in it, one of which runs at a time.

Real servers take part: PostgreSQL's ``now()`` is a function of the same name that is found first, and what expires in
Redis does so by this time. It stands still while somebody acts, so hours pass in seconds, each wait has its real
length, and nothing depends on how fast the machine is.
"""

import contextlib
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import psycopg2
import redis

_STARTS_AT_S = 4_000_000_000.0
"""Always the same, so that all runs with a seed are the same; so late that nothing expires by Redis's own clock."""

_INSTALL = """
CREATE SCHEMA clock;
CREATE TABLE clock.moment (seconds double precision NOT NULL);
INSERT INTO clock.moment VALUES (%s);
CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql AS
    'SELECT to_timestamp(seconds) FROM clock.moment';
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT clock.now()';
ALTER DATABASE academy SET search_path = public, clock, pg_catalog;
"""
_REMOVE = "ALTER DATABASE academy RESET search_path; DROP SCHEMA clock CASCADE"

# Keys expire by the timeline's time. What has been set since the last time, for a multiple of 20 s, expires long before
# the timeline began.
_EXPIRE = """
local machine, set_at, now, began = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for _, key in ipairs(redis.call('KEYS', '*')) do
    local at = redis.call('PEXPIRETIME', key)
    if at >= 0 and at < began then
        at = set_at + math.ceil((at - machine - 1000) / 20000) * 20000
        redis.call('PEXPIREAT', key, string.format('%.0f', at))
    end
    if at >= 0 and at <= now then
        redis.call('DEL', key)
    end
end
"""


class Killed(BaseException):
    """The party has ended here. A BaseException, so that nothing catches it by accident."""


class Party:
    """Something that goes on beside others: a worker, an execution, an invocation.

    Attributes:
        not_before: it does nothing before this time.
        ended: it has.
        result: what it returned, once it has ended.
        error: what it raised, if it did.
    """

    def __init__(self, name: str, work: Callable[[], object], switch: threading.Semaphore) -> None:
        self.not_before = 0.0
        self.killed = self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._work, self._switch = work, switch
        self._turn = threading.Semaphore(0)
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def take_turn(self) -> None:
        """Let it go on until it sleeps or ends; called by whoever runs the timeline."""
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
                self.result = self._work()
        except Killed:
            pass
        except BaseException as exc:
            self.error = exc
        self.ended = True
        self._switch.release()


_running = threading.local()


def _current() -> Party | None:
    """Return the party that this thread is; None for whoever runs the timeline."""
    return getattr(_running, "party", None)


class Timeline:
    """The time, and what is due when. One thread makes it, and runs it by sleeping or waiting."""

    def __init__(self, dsn: str, *redis_urls: str) -> None:
        """Prepare; time passes for the servers after `install`."""
        self._dsn = dsn
        self._clients = [redis.Redis.from_url(url) for url in redis_urls]
        self._now = _STARTS_AT_S
        self._due: list[tuple[float, int, Party]] = []
        self._waiting: list[tuple[Callable[[], bool], Party]] = []
        self._order = itertools.count()
        self._random = random.Random(0)  # fractions of seconds, which tell one claim from another
        self._switch = threading.Semaphore(0)
        self._session: Any = None

    def install(self) -> None:
        """Make the database's clock one that can be moved; it is for all connections opened from now on."""
        self._sql(_INSTALL, self._now)

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
        """Return the time for everybody here, seconds since the epoch, in whole milliseconds."""
        return self._now

    def start(self, name: str, work: Callable[[], object], *, in_s: float = 0.0) -> Party:
        """Let a party begin ``in_s`` seconds from now."""
        party = Party(name, work, self._switch)
        self._push(party, self._after(in_s))
        return party

    def kill(self, party: Party) -> None:
        """End a party wherever it is; one that kills itself doesn't return from here."""
        party.killed = True
        if party is _current():
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
        party = _current()
        if party is not None:
            self._push(party, self._after(seconds))
            party.yield_turn()
        else:
            until = round(self._now + seconds, 3)
            self._run(lambda: self._now >= until, until)

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something is so, during which others go on."""
        party = _current()
        if party is None:
            return self._run(done, float("inf"))
        while not done():
            self._waiting.append((done, party))
            party.yield_turn()
        return None

    def join(self, parties: Sequence[Party]) -> list[Any]:
        """Wait for parties to end and return their results; raise what the first of them raised."""
        self.wait(lambda: all(party.ended for party in parties))
        for party in parties:
            if party.error is not None:
                raise party.error
        return [party.result for party in parties]

    def settle_redis(self, earlier: float | None = None) -> None:
        """Have all in Redis expire by the timeline's time, to the millisecond; it was ``earlier`` until now."""
        times_s = (time.time(), self._now if earlier is None else earlier, self._now, _STARTS_AT_S)
        for client in self._clients:
            with contextlib.suppress(redis.ReadOnlyError):
                client.eval(_EXPIRE, 0, *(round(seconds * 1000) for seconds in times_s))

    def left_ms(self, expires_ms: int) -> int:
        """Return what PTTL would for an answer to PEXPIRETIME, by the timeline's time."""
        return expires_ms - round(self._now * 1000) if expires_ms > 0 else expires_ms

    def _pass_time(self, until: float) -> None:
        """Make it later for everybody at once; nobody acts meanwhile."""
        earlier, self._now = self._now, until
        self._sql("UPDATE clock.moment SET seconds = %s", until)
        self.settle_redis(earlier)

    def _after(self, seconds: float) -> float:
        """Return the time in so many seconds, rounded up to whole ones: time passes in seconds."""
        return ceil(self._now + seconds) if seconds > 0 else self._now

    def _push(self, party: Party, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), party))

    def _run(self, done: Callable[[], bool], until: float) -> None:
        while not done():
            if not self._due or self._due[0][0] > until:
                if until == float("inf"):
                    raise RuntimeError("nobody has anything left to do")
                return self._pass_time(until)
            at, _, party = heapq.heappop(self._due)
            if party.ended:
                continue
            if party.not_before > at:
                self._push(party, party.not_before)
                continue
            if at > self._now:
                self._pass_time(min(round(at + self._random.randrange(1000) / 1000, 3), until))
            party.take_turn()
            for waiting in [waiting for waiting in self._waiting if waiting[0]()]:
                self._waiting.remove(waiting)
                self._push(waiting[1], self._now)
        return None

    def _sql(self, statement: str, *parameters: object) -> None:
        if self._session is None:
            options = "-c synchronous_commit=off"
            self._session = psycopg2.connect(self._dsn, application_name="clock", options=options)
            self._session.autocommit = True
        with self._session.cursor() as cursor:
            cursor.execute(statement, parameters)
