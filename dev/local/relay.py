"""A TCP relay in front of a server: it counts round trips, adds delay, cuts connections, or ends TLS."""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections import deque
from typing import Literal, Self

Cut = Literal["before", "during", "after"]

_CHUNK = 1 << 16
_COMMAND = re.compile(rb"(?:^|\r\n)\*\d+\r\n")
_SSL_REQUEST = bytes([0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F])
"""How a PostgreSQL client asks for TLS."""


class Relay:
    """Forwards connections to a port of the loopback interface, and injects faults on demand.

    A round trip is a client that speaks and then waits for the server.

    Attributes:
        port: the port on which it listens.
        target_port: the port to which new connections lead.
        refusing: new connections are dropped as soon as they are made.
        mute: nothing is forwarded, and nothing answered.
        delay_s: seconds added to every round trip.
        answer: if not empty, sent for each Redis command in the server's place.
        connections: number of connections that were forwarded, after TLS if there is any.
        round_trips: number of round trips so far.
    """

    def __init__(
        self,
        target_port: int,
        *,
        tls: ssl.SSLContext | None = None,
        postgres: bool = False,
        mute: bool = False,
    ) -> None:
        """Prepare a relay to ``target_port``; nothing listens before `start`.

        Args:
            target_port: see the class.
            tls: the server's side of TLS, which ends here; None forwards everything as it is.
            postgres: the client asks for TLS first, as PostgreSQL's do.
            mute: see the class.
        """
        self.port, self.target_port = 0, target_port
        self.refusing, self.mute = False, mute
        self.delay_s, self.answer = 0.0, b""
        self.connections = self.round_trips = 0
        self._tls, self._postgres = tls, postgres
        self._cuts: dict[int, Cut] = {}
        self._next: deque[Cut] = deque()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def start(self) -> Self:
        """Listen on a free port."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), name="relay", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and cut all connections; does nothing if it was not started."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        self.cut_all()

    def cut_next(self, when: Cut) -> None:
        """Cut the connection whose client next sends something.

        ``before`` the server receives it, ``during`` its work, which the server then finishes, or ``after``
        its answer, which the client does not receive.
        """
        self._next.append(when)

    def cut_all(self) -> None:
        """Cut every connection that is open now, as a failover does."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, (_, port) = listener.accept()
                if self.refusing:
                    client.close()
                else:
                    threading.Thread(target=self._serve, args=(client, port), daemon=True).start()

    def _serve(self, client: socket.socket, port: int) -> None:
        self._open.add(client)
        try:
            with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
                if self._tls is not None:
                    client = undo.enter_context(self._end_tls(client, self._tls))
                if self.mute:
                    while client.recv(_CHUNK):
                        pass
                    return
                server = undo.enter_context(socket.create_connection(("127.0.0.1", self.target_port)))
                self._forward(client, server, port)
        finally:
            self._cuts.pop(port, None)
            self._open.discard(client)
            client.close()

    def _end_tls(self, client: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        if self._postgres:
            if client.recv(len(_SSL_REQUEST)) != _SSL_REQUEST:
                raise OSError("the client didn't ask for TLS")
            client.sendall(b"S")
        self._open.discard(client)
        secured = context.wrap_socket(client, server_side=True)
        self._open.add(secured)
        return secured

    def _forward(self, client: socket.socket, server: socket.socket, port: int) -> None:
        self.connections += 1
        self._open.add(server)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asking = threading.Event()  # set while the client was the last to speak
        back = threading.Thread(target=self._to_client, args=(server, client, port, asking), daemon=True)
        back.start()
        try:
            self._to_server(client, server, port, asking)
        finally:
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()
            self._open.discard(server)
            self._open.discard(client)

    def _to_server(
        self, client: socket.socket, server: socket.socket, port: int, asking: threading.Event
    ) -> None:
        answered_for_it = False
        while data := client.recv(_CHUNK):
            if self.answer:
                client.sendall(self.answer * len(_COMMAND.findall(data)))
                answered_for_it = True
                continue
            if answered_for_it:  # the server must not receive the rest of a split command
                return
            if self._next:
                self._cuts[port] = self._next.popleft()
            cut = self._cuts.get(port)
            if cut == "before":
                return
            if not asking.is_set():
                self.round_trips += 1
                asking.set()
                if self.delay_s:
                    time.sleep(self.delay_s)
                    data += _rest(client)
            server.sendall(data)
            if cut == "during":
                return

    def _to_client(
        self, server: socket.socket, client: socket.socket, port: int, asking: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                if self._cuts.get(port) == "after":
                    break
                asking.clear()
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _rest(client: socket.socket) -> bytes:
    """Return what has arrived meanwhile: a server must not answer a long question's first part alone."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := client.recv(_CHUNK, socket.MSG_DONTWAIT):
            data += more
    return data
