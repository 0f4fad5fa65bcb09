"""`chalice local` with the gateway's own manners: `python -m local.serve --port 8000`.

Serves the app of `--project-dir` for a stage of its `.chalice/config.json` on loopback, with one
thread a connection, and writes one access line a request to standard output.
"""

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chalice.cli.factory import CLIFactory
from chalice.config import Config
from chalice.deploy.validate import validate_routes
from chalice.local import LocalChalice

from local.gateway import Gateway, HttpReply, HttpRequest, malformed, refusal
from local.wire import BodyError, DisconnectedError, body_length, read_body

log = logging.getLogger("local.serve")

_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_LOGGED_PATH = 200
# How long a client that is still sending a refused body is listened to before it is cut off:
# a socket closed with unread bytes resets the connection, and the answer would be lost.
_LINGER_SECONDS = 2.0


class ThreadSafeChalice(LocalChalice):
    """Keeps the current request and context per thread, which a Lambda never needs to."""

    _contexts = threading.local()

    @property
    def lambda_context(self) -> Any:
        return getattr(self._contexts, "value", None)

    @lambda_context.setter
    def lambda_context(self, value: Any) -> None:
        self._contexts.value = value


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 for a `Gateway`; every answer of its own is problem+json."""

    protocol_version = "HTTP/1.1"
    server_version = "eventline"
    sys_version = ""
    timeout = 60
    # The answer's head and body leave as one packet, so that none waits for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, gateway: Gateway, *args: Any) -> None:
        self._gateway = gateway
        self._started = time.monotonic()
        super().__init__(*args)

    def __getattr__(self, name: str) -> Any:
        # The base class looks for do_<METHOD>; what a method may do is the gateway's business.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def handle(self) -> None:
        """Serve the connection's requests; a client that goes away is nobody's error."""
        with contextlib.suppress(ConnectionError, TimeoutError, DisconnectedError):
            super().handle()

    def finish(self) -> None:
        """Close the connection, whatever its state."""
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def parse_request(self) -> bool:
        """Read the head of a request; starts its clock."""
        self._started = time.monotonic()
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        """Ask for the body only when it will be taken (RFC 9110 section 10.1.1)."""
        try:
            self._length()
        except BodyError as error:
            self._refuse(error)
            return False
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses (a malformed request line, endless headers)."""
        self.close_connection = True
        # For want of a version the base class would answer as in 1991, without a status line.
        self.request_version = self.protocol_version
        detail = explain or message or HTTPStatus(code).phrase
        self._send(malformed(code, detail, str(uuid.uuid4())))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Keep the base class quiet: `_send` writes the access line."""

    def _serve(self) -> None:
        try:
            body = read_body(self.rfile, self._length())  # type: ignore[arg-type]
        except BodyError as error:
            self._refuse(error)
            return
        request = HttpRequest(self.command, self.path, self.headers.items(), body)
        self._send(self._gateway.handle(request))

    def _length(self) -> int | None:
        return body_length(
            self.headers.get_all("Content-Length", []),
            self.headers.get_all("Transfer-Encoding", []),
        )

    def _refuse(self, error: BodyError) -> None:
        self.close_connection = True
        request_id = str(uuid.uuid4())
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self._send(refusal("REQUEST_TOO_LARGE", request_id))
        else:
            self._send(malformed(error.status, error.detail, request_id))
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_SECONDS
        self.connection.settimeout(_LINGER_SECONDS)
        while time.monotonic() < deadline and self.connection.recv(1 << 16):
            pass

    def _send(self, reply: HttpReply) -> None:
        self._log_access(reply.status)
        self.send_response_only(reply.status)
        self.send_header("Date", self.date_time_string())
        for name, value in reply.headers:
            if name.lower() not in ("content-length", "connection", "date"):
                self.send_header(name, value)
        if reply.status not in _BODILESS:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.status not in _BODILESS:
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _log_access(self, status: int) -> None:
        took = (time.monotonic() - self._started) * 1000
        path = getattr(self, "path", "").partition("?")[0][:_LOGGED_PATH]
        # What a client sends cannot forge a line: all but printable ASCII is escaped.
        safe = "".join(c if c.isascii() and c.isprintable() else f"\\x{ord(c):02x}" for c in path)
        method = self.command if (self.command or "").isalpha() else "-"
        sys.stdout.write(f"{method} {safe or '-'} {status} {took:.0f} ms\n")
        sys.stdout.flush()


class Server(ThreadingHTTPServer):
    """One thread a connection; the queue takes a burst of clients."""

    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Log what escaped a handler, without a traceback for a client that left."""
        if not isinstance(sys.exception(), OSError):
            # The base class calls this while it handles the exception.
            log.error("a request could not be served", exc_info=True)  # noqa: LOG014


def load_app(project_dir: Path, stage: str) -> tuple[Any, Config]:
    """Import the stage's app as Chalice would for `chalice local`, made safe for threads.

    Sets the stage's environment variables in this process first, as Chalice does. Raises
    `ValueError` for routes that `chalice deploy` would refuse.
    """
    factory = CLIFactory(str(project_dir), environ=os.environ)
    config = factory.create_config_obj(stage)
    app = config.chalice_app
    validate_routes(app.routes)
    app.__class__ = type("LocalApp", (ThreadSafeChalice, app.__class__), {})
    return app, config


def make_server(app: Any, config: Config, port: int) -> Server:
    """A server on loopback, bound to `port` (0 picks a free one) and not yet serving."""
    return Server(("127.0.0.1", port), partial(Handler, Gateway(app, config)))


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--stage", default="local")
    parser.add_argument("--project-dir", type=Path, default=Path.cwd())
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    server = make_server(*load_app(options.project_dir, options.stage), options.port)

    def stop(*_: object) -> None:
        # `shutdown` waits for the loop that this handler interrupts.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
