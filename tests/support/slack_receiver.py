"""An HTTP server in Slack's place: it takes messages, or answers what a test tells it to."""

import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """How one request ends: with a status, after `hang` seconds; or, with status 0, in a reset."""

    status: int = 200
    text: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: float = 0.0


RESET = Answer(status=0)


class SlackReceiver:
    """Listens on loopback. `posts` are the requests that were answered with 200."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, deque[Answer]] = defaultdict(deque)
        self._posts: list[dict[str, Any]] = []
        self._refused: list[str] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, now or after it was down."""
        return f"http://127.0.0.1:{self._port}/services/hook"

    def start(self) -> None:
        """Listen; on the port of before, if there was one."""
        server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._port = server.server_address[1]
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse every connection inside the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def answer(self, mark: str, *answers: Answer) -> None:
        """Give these answers, one each, to the next messages that hold `mark`; then 200."""
        with self._lock:
            self._answers[mark].extend(answers)

    def posts(self, mark: str) -> list[dict[str, Any]]:
        """The messages that hold `mark` and were taken."""
        with self._lock:
            return [post for post in self._posts if mark in json.dumps(post)]

    def titles(self, mark: str) -> list[str]:
        """Their fallback texts."""
        return [str(post["text"]) for post in self.posts(mark)]

    def refused(self, mark: str) -> int:
        """How many requests with `mark` were not taken."""
        with self._lock:
            return sum(mark in body for body in self._refused)

    def _next_answer(self, body: str) -> Answer:
        """What to answer to a request, which is noted."""
        with self._lock:
            waiting = [answers for mark, answers in self._answers.items() if mark in body]
            answer = next((answers.popleft() for answers in waiting if answers), Answer())
            if answer.status == 200 and not answer.hang:
                self._posts.append(json.loads(body))
            else:
                self._refused.append(body)
            return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = receiver._next_answer(body)
                time.sleep(answer.hang)
                if not answer.status:
                    # Closed at once with unsent data dropped: the client sees a reset.
                    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    return
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer.text.encode())
                except (BrokenPipeError, ConnectionResetError):
                    return  # The client did not wait for it.

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        return Handler
