"""AWS that hangs: it takes every connection, and answers some calls, or none, or by halves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NOTHING = b'{"Responses":{},"Items":[]}'
_OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_NOTHING), _NOTHING)
)
_KEPT = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'
_HALF = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: 99\r\n\r\n{"
)


class HangingAws:
    """A server on loopback. `answered` holds what an answered call's head has in it (an operation
    of `X-Amz-Target`, `PUT /`); `by_halves` lets others have the head of an answer and no more."""

    def __init__(self, answered: tuple[bytes, ...] = (), *, by_halves: bool = False) -> None:
        self._answered = answered
        self._by_halves = by_halves
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.attempts = 0

    def serve(self) -> None:
        """Take connections until it is stopped."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            connection.close()

    def _talk(self, connection: Any) -> None:
        try:
            while head := _read_request(connection):
                self.attempts += 1
                if any(word in head for word in self._answered):
                    connection.sendall(_KEPT if head.startswith(b"PUT ") else _OK)
                elif self._by_halves:
                    connection.sendall(_HALF)
        except OSError:
            return


@contextmanager
def hanging_aws(answered: tuple[bytes, ...] = (), *, by_halves: bool = False) -> Iterator[Any]:
    """Such a server while the block runs."""
    server = HangingAws(answered, by_halves=by_halves)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)


def _read_request(connection: Any) -> bytes:
    """The head of the next request, once all of it has come; empty when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if name.lower() == b"expect":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return b""
        body += more
    return head
