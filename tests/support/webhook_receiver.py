"""Servers on loopback, HTTPS or HTTP, in a customer's place. They behave as they are told."""

import datetime as dt
import gzip
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "hooks.example.com"


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Behave = Callable[[BaseHTTPRequestHandler], None]
"""What a receiver does once it has read a request."""


def answer(status: int = 200, body: bytes = b"ok", seconds: float = 0, **headers: str) -> Behave:
    """An answer; `Retry_After="3"` gives a header."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def reset(handler: BaseHTTPRequestHandler) -> None:
    """A reset."""
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def half(handler: BaseHTTPRequestHandler) -> None:
    """A status, and half of the body that was announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"half")
    handler.close_connection = True


def half_a_status(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends within the first line."""
    handler.wfile.write(b"HTTP/1.1 2")
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler) -> None:
    """More of an answer than anybody wants."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        for _ in range(20_000):
            handler.wfile.write(b"x" * 4096)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte of a header now and then, for ever."""
    handler.close_connection = True
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(2000):
            handler.wfile.write(b"a")
            time.sleep(0.05)


def bomb(handler: BaseHTTPRequestHandler) -> None:
    """A few kilobytes that would be many megabytes."""
    packed = gzip.compress(bytes(50_000_000), 9)
    answer(200, packed, Content_Encoding="gzip")(handler)


@dataclass
class Receiver:
    """A server. `got` are the requests; behaviours that are due come first, then `usual`."""

    context: ssl.SSLContext | None = None
    usual: Behave = field(default_factory=answer)
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    due: deque[Behave] = field(default_factory=deque)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        if self.context is None:
            return f"http://127.0.0.1:{self.port}/hook"
        return f"https://{NAME}:{self.port}/hook"

    def then(self, *behaviours: Behave) -> None:
        """Behave so at the next requests, one each."""
        self.due.extend(behaviours)

    def look_up(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """A resolver that knows one name."""
        if host not in (NAME, "127.0.0.1"):
            raise socket.gaierror("no such name")
        return [addresses("127.0.0.1", port)]

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        if self.context is not None:
            server.socket = self.context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append(Got(self.path, headers, body))
                behave = receiver.due.popleft() if receiver.due else receiver.usual
                with suppress(BrokenPipeError, ConnectionResetError):
                    behave(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def addresses(address: str, port: int) -> tuple[Any, ...]:
    """An entry of a resolver's answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = (address, port, 0, 0) if ":" in address else (address, port)
    return (family, socket.SOCK_STREAM, 6, "", place)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of its own, in files."""

    folder: Path
    key: Any
    name: x509.Name
    certificate: x509.Certificate

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        made = cls._build(name, name, key.public_key(), [], is_authority=True).sign(
            key, hashes.SHA256()
        )
        authority = cls(folder, key, name, made)
        authority.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return authority

    @property
    def file(self) -> Path:
        """The authority's certificate."""
        return self.folder / "authority.pem"

    def context(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """What a server of these names needs; one of negative `days` has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        made = self._build(
            subject, self.name, key.public_key(), names, is_authority=False, days=days
        ).sign(self.key, hashes.SHA256())
        file = self.folder / f"server-{made.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    @staticmethod
    def _build(
        subject: x509.Name,
        issuer: x509.Name,
        key: Any,
        names: Sequence[str],
        *,
        is_authority: bool,
        days: int = 1,
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=10))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternative, critical=False)
        return builder
