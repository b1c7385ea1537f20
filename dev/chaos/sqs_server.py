"""AWS's JSON protocol over HTTP, as boto3 speaks it with SQS."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INVOCATION_HEADER = "X-Invocation"
"""Header in which the product's client names its invocation."""


class Answer(Exception):
    """An error that the caller is answered with."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Silence(Exception):
    """Close the connection without an answer."""


class Server(ThreadingHTTPServer):
    """A server whose threads never keep it from stopping."""

    daemon_threads = True
    block_on_close = False  # a killed worker's last call may hang on

    def handle_error(self, *_: object) -> None:
        """Ignore it: clients are killed in the middle of their calls."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection.

    Attributes:
        serve: serves one call: action, request and invocation; it may raise `Answer` or `Silence`.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    serve: Callable[[str, dict[str, Any], str], dict[str, Any]]

    def do_POST(self) -> None:
        """Serve a call."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        action = self.headers["X-Amz-Target"].rpartition(".")[2]
        try:
            answer = self.serve(action, request, self.headers.get(INVOCATION_HEADER, ""))
        except Silence:
            self.close_connection = True
            return
        except Answer as error:
            self._answer(error.status, {"__type": error.code, "message": error.message})
            return
        self._answer(200, answer)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
