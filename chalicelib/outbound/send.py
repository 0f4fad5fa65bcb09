"""One attempt: an HTTPS request, and what its end means.

Success is any 2xx. Redirects are not followed, since their target was never checked. At most
`MAX_ANSWER_BYTES` of an answer are read, as they come: nothing is decompressed, so a bomb stays
small. The answer is text to show, never run or rendered.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Event
from typing import Any, Self

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.retry_after import retry_after_seconds

MAX_ANSWER_BYTES = 64 * 1024
SHOWN_BYTES, SHOWN_OF_SUCCESS = 1024, 256
"""How much of an answer is kept; less of a success, whose note shall stay within a kilobyte."""
AGENT = "Eventline-Webhooks"
_GONE = 410
_RETRY_LATER = (429, 503)
_NOT_TEXT = r"[^\t\n\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]"


class Limits(Struct, frozen=True):
    """The seconds that an attempt may take: to connect, for each read, and in all."""

    connect: float
    read: float
    total: float


class Answer(Struct, frozen=True):
    """How an attempt ended. `status` is None without an answer, `code` "" for a success.
    `retry_after` is in seconds. `is_down`: the endpoint is in trouble, so that another message
    would fare no better."""

    status: int | None
    code: str
    text: str = ""
    millis: int = 0
    retry_after: int | None = None
    is_down: bool = False

    @property
    def is_success(self) -> bool:
        return self.code == ""

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing any more (410, Standard Webhooks)."""
        return self.status == _GONE


class Sender:
    """Sends with connections that last for a run: between runs Lambda freezes the process, and a
    connection that died meanwhile would leave open whether a message arrived."""

    def __init__(
        self,
        limits: Limits,
        *,
        loopback: bool = False,
        ca: str | None = None,
        look_up: Any = None,
        now: Callable[[], datetime] = clock.utc_now,
    ) -> None:
        from chalicelib.outbound import connect

        more = {} if look_up is None else {"look_up": look_up}
        timeout = (limits.connect, limits.read)
        self._transport = connect.Transport(timeout, loopback=loopback, ca=ca, **more)
        self._total = limits.total
        self._time_limit = connect.time_limit
        self._now = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST once; raises nothing that a receiver can cause. Safe in several threads. The look-up
        of the name has the resolver's own time-out, beside the limits."""
        begun = time.monotonic()
        try:
            with self._time_limit(self._total) as is_over:
                answer = self._post(url, body, dict(headers), is_over)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the endpoint's
            answer = Answer(None, self._code(error), is_down=True)
        millis = round((time.monotonic() - begun) * 1000)
        return Answer(
            answer.status, answer.code, answer.text, millis, answer.retry_after, answer.is_down
        )

    def _post(self, url: str, body: bytes, headers: dict[str, str], is_over: Event) -> Answer:
        usual = {"User-Agent": AGENT, "Accept-Encoding": "identity", "Accept": "*/*"}
        response = self._transport.post(url, body, {**usual, **headers})
        if is_over.is_set():  # Headers that are cut look as if they were whole.
            raise TimeoutError
        # What is not read to its end ends the connection: it would be read as another answer.
        with response:
            raw = _read(response.raw)
        status = response.status_code
        is_success = 200 <= status < 300  # noqa: PLR2004 - the class of successes
        asked = response.headers.get("Retry-After") if status in _RETRY_LATER else None
        return Answer(
            status,
            "" if is_success else f"http-{status}",
            _shown(raw, SHOWN_OF_SUCCESS if is_success else SHOWN_BYTES),
            retry_after=None if asked is None else retry_after_seconds(asked, self._now()),
            is_down=status >= 500 or status == 429,  # noqa: PLR2004 - faults of servers, too many
        )

    def _code(self, error: BaseException) -> str:
        """A word for why there was no answer: never the error's text, which may hold the URL."""
        causes: list[BaseException] = []
        todo: list[Any] = [error]
        while todo:
            one = todo.pop()
            if not isinstance(one, BaseException) or one in causes:
                continue
            causes.append(one)
            todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        names = " ".join(cls.__name__ for one in causes for cls in type(one).__mro__)
        for code, pattern in _CODES.items():
            if re.search(pattern, names):
                return code
        return "no-answer"


def _read(body: Any) -> bytes:
    """The beginning of an answer; nothing if it is cut, since the status says enough."""
    try:
        return body.read(MAX_ANSWER_BYTES, decode_content=False) or b""
    except Exception:  # noqa: BLE001 - whatever it is, it is the endpoint's
        return b""


_CODES = {
    "address-refused": r"\bRefusedAddressError\b",
    "name-unknown": r"\bgaierror\b|\bNameResolutionError\b",
    "tls": r"\bSSLError\b|\bSSLCertVerificationError\b",
    # Before time-outs: among urllib3's classes a refused connection is one.
    "no-connection": r"\bNewConnectionError\b|\bConnectionRefusedError\b",
    "time-out": r"\bTimeoutError\b|\bReadTimeout\b|\bConnectTimeout\b",
    "invalid-url": r"\bInvalidURL\b|\bMissingSchema\b|\bLocationParseError\b",
}


def _shown(raw: bytes, limit: int) -> str:
    """The beginning of an answer as text; whatever is no text becomes a question mark."""
    return re.sub(_NOT_TEXT, "?", raw[:limit].decode("utf-8", "replace"))
