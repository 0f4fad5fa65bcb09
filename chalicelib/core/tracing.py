"""Sub-segments of X-Ray: the steps of a traced run, sent to Lambda's X-Ray daemon.

Sources: AWS X-Ray Developer Guide, "X-Ray segment documents" and "Sending trace data to X-Ray"; AWS
Lambda Developer Guide, "Defined runtime environment variables". Lambda makes the segment itself and
says in `_X_AMZN_TRACE_ID`, anew for each run, whether it is sampled. Nothing is sent otherwise.

Each step is one datagram to the daemon on the same machine: sending does not wait, and an error of
it is nobody's business. A trace may lack steps; nothing else may suffer from it.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from chalicelib.core.log import correlation

_HEADER = b'{"format":"json","version":1}\n'
# Compiled at first use: most runs are not traced, and no cold start has to pay for them.
_ROOT = r"1-[0-9a-f]{8}-[0-9a-f]{24}"
_ID = r"[0-9a-f]{16}"
_UDP = r"(?:^|udp:)(?P<host>[0-9]{1,3}(?:\.[0-9]{1,3}){3}):(?P<port>[0-9]{1,5})$"
_place: ContextVar[tuple[str, str] | None] = ContextVar("eventline-trace", default=None)
"""Where in a trace a step is: (the trace's root, the id that it is below)."""


@contextmanager
def span(name: str, namespace: str | None = "aws") -> Iterator[None]:
    """Tell X-Ray of what the block does, as a step `name` below the one around it.

    `namespace` is `aws` for calls to AWS, `remote` for others, None for work of our own. A block
    that raises is a fault; what it raised is not told, for it may quote a payload.
    """
    place = _here()
    if place is None:
        yield
        return
    root, parent = place
    own_id = os.urandom(8).hex()
    token = _place.set((root, own_id))
    begun, failed = time.time(), True
    try:
        yield
        failed = False
    finally:
        _place.reset(token)
        segment = {
            "name": name,
            "id": own_id,
            "trace_id": root,
            "parent_id": parent,
            "type": "subsegment",
            "start_time": begun,
            "end_time": time.time(),
            **({} if namespace is None else {"namespace": namespace}),
            **({"fault": True} if failed else {}),
            "annotations": correlation(),
        }
        with suppress(OSError, ValueError, OverflowError):
            _send(segment)


def _here() -> tuple[str, str] | None:
    """Where the run is now; None if it is not traced."""
    header = os.environ.get("_X_AMZN_TRACE_ID", "")
    if "Sampled=1" not in header:
        return None
    parts = dict(part.partition("=")[::2] for part in header.split(";"))
    root, parent = parts.get("Root", ""), parts.get("Parent", "")
    if (
        parts.get("Sampled") != "1"
        or not re.fullmatch(_ROOT, root)
        or not re.fullmatch(_ID, parent)
    ):
        return None
    place = _place.get()
    # A context that was left over from another run is not this trace's.
    return place if place is not None and place[0] == root else (root, parent)


def _send(segment: dict[str, Any]) -> None:
    # An address, never a name: looking one up could take long.
    found = re.search(_UDP, os.environ.get("AWS_XRAY_DAEMON_ADDRESS", "").strip())
    if found is None:
        return
    import socket

    text = json.dumps(segment, separators=(",", ":"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.settimeout(0)
        socket.inet_pton(socket.AF_INET, found["host"])  # Or `sendto` would look it up.
        daemon.sendto(_HEADER + text.encode(), (found["host"], int(found["port"])))
