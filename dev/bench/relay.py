"""TCP relays that count round trips and add the latency of a network to each.

A round trip is a client that speaks and then waits for the server. The relays run in a process of their own,
so that they don't take turns with the client that is measured.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from typing import Any, NamedTuple

_CHUNK = 1 << 16


class Route(NamedTuple):
    """Where a relay leads: a port of the loopback interface, and seconds added to every round trip."""

    port: int
    delay_s: float = 0.0


class Relay:
    """One relay, on threads of the process that makes it.

    Attributes:
        port: where it listens.
        round_trips: number of round trips so far.
    """

    def __init__(self, route: Route) -> None:
        self.round_trips = 0
        self._route = route
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._route.port))
                asking = threading.Event()  # set while the client was the last to speak
                for pump, source, target in ((self._ask, client, server), (self._answer, server, client)):
                    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=pump, args=(source, target, asking), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, asking: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                if not asking.is_set():
                    self.round_trips += 1
                    asking.set()
                    time.sleep(self._route.delay_s)
                    # A long question comes in parts. The server must not answer the first before the others are here.
                    with contextlib.suppress(BlockingIOError):
                        while more := client.recv(_CHUNK, socket.MSG_DONTWAIT):
                            data += more
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, asking: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                asking.clear()
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


class Relays:
    """Relays by name, in a process of their own; ``ports`` is where they listen."""

    def __init__(self, pipe: Any) -> None:  # noqa: ANN401 - a Connection of multiprocessing
        self._pipe = pipe
        self.ports: dict[str, int] = pipe.recv()

    def round_trips(self) -> dict[str, int]:
        """Return the number of round trips so far, by name."""
        self._pipe.send("count")
        counted: dict[str, int] = self._pipe.recv()
        return counted


@contextlib.contextmanager
def relays(routes: Mapping[str, Route]) -> Iterator[Relays]:
    """Run relays during a ``with`` block."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, dict(routes)), daemon=True)
    process.start()
    try:
        yield Relays(here)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Any, routes: dict[str, Route]) -> None:  # noqa: ANN401
    running = {name: Relay(route) for name, route in routes.items()}
    pipe.send({name: relay.port for name, relay in running.items()})
    with contextlib.suppress(EOFError):  # the program that started this has ended
        while pipe.recv():
            pipe.send({name: relay.round_trips for name, relay in running.items()})
