"""A TCP relay in front of a server: counts round trips, delays or cuts them, or answers in the server's place."""

import asyncio
import contextlib
import re
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal, Self

Cut = Literal["before", "during", "after"]

_CHUNK = 65_536
_COMMAND = re.compile(rb"(?:^|\r\n)\*\d+\r\n")


class Relay:
    """Forwards connections to a port of the loopback interface, and injects faults on demand.

    Attributes:
        port: the port on which it listens.
        target_port: the port to which new connections lead.
        refusing: new connections are dropped as soon as they are made.
        delay_s: every round trip takes so much longer: the first part of an answer is kept back.
        round_trips: how often a client spoke and then waited for the server.
        answer: if not empty, sent for each Redis command in the server's place.
    """

    def __init__(self, target_port: int) -> None:
        """Prepare a relay to ``target_port``; nothing listens before `start`."""
        self.port = 0
        self.refusing = False
        self.delay_s = 0.0
        self.round_trips = 0
        self.answer = b""
        self.target_port = target_port
        self._cuts: dict[int, Cut] = {}
        self._next: deque[Cut] = deque()
        self._open: set[asyncio.StreamWriter] = set()
        self._asking: set[int] = set()  # ports of clients that were the last to speak
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._server: asyncio.Server | None = None

    def start(self) -> Self:
        """Listen on a free port."""
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        """Cut all connections and stop listening; does nothing if it was not started."""
        if self._server is None:
            return
        self._do(self._close(self._server))
        self._server = None
        self.cut_all()
        self._do(self._finished())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self, server: asyncio.Server) -> None:
        """Stop listening; a coroutine, since a server may only be closed on its loop's thread."""
        server.close()

    def cut(self, client_port: int, when: Cut) -> None:
        """Cut the connection from ``client_port`` when the client next sends something.

        ``before`` the server receives it, ``during`` its work, which the server then finishes, or ``after``
        its answer, which the client does not receive.
        """
        self._cuts[client_port] = when

    def cut_next(self, when: Cut) -> None:
        """Like `cut`, for whichever connection sends something next."""
        self._next.append(when)

    def spare(self, client_port: int) -> None:
        """Undo `cut`."""
        self._cuts.pop(client_port, None)

    def cut_all(self) -> None:
        """Cut every connection that is open now."""

        async def cut() -> None:
            for writer in list(self._open):
                writer.transport.abort()

        self._do(cut())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what the work returns
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _finished(self) -> None:
        while others := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
            await asyncio.wait(others)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, server_writer}
        port: int = writer.get_extra_info("peername")[1]
        directions = [
            asyncio.ensure_future(self._to_server(port, reader, writer, server_writer)),
            asyncio.ensure_future(self._to_client(port, server_reader, writer)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            self._open -= {writer, server_writer}
            self.spare(port)
            self._asking.discard(port)
            for end in (writer, server_writer):
                end.transport.abort()

    async def _to_server(
        self,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            answered_for_it = False
            while data := await reader.read(_CHUNK):
                if self.answer:
                    writer.write(self.answer * len(_COMMAND.findall(data)))
                    answered_for_it = True
                    continue
                if answered_for_it:  # the server must not receive the rest of a split command
                    return
                if self._next:
                    self._cuts[port] = self._next.popleft()
                cut = self._cuts.get(port)
                if cut == "before":
                    return
                if port not in self._asking:  # a long question comes in several parts
                    self._asking.add(port)
                    self.round_trips += 1
                server_writer.write(data)
                await server_writer.drain()
                if cut == "during":
                    return

    async def _to_client(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._cuts.get(port) == "after":
                    return
                if port in self._asking:
                    await asyncio.sleep(self.delay_s)
                    self._asking.discard(port)
                writer.write(data)
                await writer.drain()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
