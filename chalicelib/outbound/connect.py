"""HTTP connections to public addresses alone. Import it only where something is sent: it brings
`requests`.

A name is resolved here, all its addresses are checked, and the socket connects to one of those very
addresses: there is no second look-up in between that could answer something else (DNS rebinding).
The name stays the connection's own, for TLS (SNI and the check of the certificate) and `Host`. A
transport follows no redirect, reads no proxy from the environment, no `.netrc`, and keeps no
cookie: it is `requests`' adapter without a session.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager

from chalicelib.outbound.address import is_public

MOST_ADDRESSES = 3
"""Of a name, that a connection is tried at."""
Resolve = Callable[[str, int], list[tuple[Any, ...]]]
"""The addresses of a host and port, as `socket.getaddrinfo` gives them."""
_mine = threading.local()


class RefusedAddressError(OSError):
    """Raised when a name has an address that is not public."""


def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """The addresses of a host, by the system's resolver."""
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


class Transport(HTTPAdapter):
    """Sends requests, and keeps its connections until it is closed. `timeout` is the seconds to
    connect and for each read. `loopback` allows addresses of this machine; `ca` is a file with
    certificate authorities, instead of the usual ones."""

    def __init__(
        self,
        timeout: tuple[float, float],
        *,
        loopback: bool,
        ca: str | None = None,
        look_up: Resolve = resolve,
    ) -> None:
        self._connect = _Connect(look_up, timeout[0], loopback=loopback)
        self._timeout = timeout
        self._ca = ca
        super().__init__(pool_connections=20, pool_maxsize=20, max_retries=0)

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> requests.Response:
        """POST, once; the answer's body is not read yet. Raises errors of `requests`."""
        request = requests.Request("POST", url, data=body, headers=headers).prepare()
        return self.send(
            request,
            stream=True,
            timeout=self._timeout,
            verify=self._ca or True,
            proxies=None,
        )

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kw: Any
    ) -> None:
        connect = self._connect

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self, self.host, self.port)

            def request(self, *args: Any, **kwargs: Any) -> None:
                _watch(self.sock)
                super().request(*args, **kwargs)

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self, self.host, self.port)

            def request(self, *args: Any, **kwargs: Any) -> None:
                _watch(self.sock)
                super().request(*args, **kwargs)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kw)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class _Connect:
    """Makes the sockets of a transport."""

    def __init__(self, look_up: Resolve, seconds: float, *, loopback: bool) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._loopback = loopback

    def __call__(self, connection: Any, host: str, port: int) -> socket.socket:
        bare = host.strip("[]")
        try:
            found = self._look_up(bare, port)
        except (OSError, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(bare, connection, reason) from error
        if not found:
            raise NameResolutionError(bare, connection, socket.gaierror("no address"))
        for *_, place in found:
            if not is_public(str(place[0]), loopback=self._loopback):
                raise RefusedAddressError("an address of the host is not public")
        last: OSError = OSError("no address")
        for family, kind, protocol, _, place in found[:MOST_ADDRESSES]:
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._seconds)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _watch(made)
                made.connect(place)
            except OSError as error:
                made.close()
                last = error
            else:
                return made
        if isinstance(last, TimeoutError):
            raise ConnectTimeoutError(connection, "no connection in time") from last
        raise NewConnectionError(connection, type(last).__name__) from last


@contextmanager
def time_limit(seconds: float) -> Iterator[threading.Event]:
    """Cut this thread's connection after `seconds`, whatever it is doing: a receiver that sends a
    byte now and then would never exceed the time-out of a single read. The event is set then."""
    held: list[socket.socket] = []
    _mine.held = held
    is_over = threading.Event()

    def cut() -> None:
        is_over.set()
        for one in held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield is_over
    finally:
        timer.cancel()
        _mine.held = None
        for one in held:
            one.close()


def _watch(used: Any) -> None:
    """Have the time limit of this thread cut a socket. It holds a second handle to it, since TLS
    takes the first one apart."""
    held = getattr(_mine, "held", None)
    if held is not None and used is not None:
        with contextlib.suppress(OSError):
            held.append(socket.socket(fileno=os.dup(used.fileno())))
