"""The receivers that the documents show take what Eventline sends, and nothing else."""

import http.server
import re
import threading
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest

from chalicelib.destinations.deliver import LIMITS
from chalicelib.destinations.sign import make_secret, signature_headers
from chalicelib.outbound.send import Sender
from infra import project

SECRET = make_secret(bytes(range(32)))
BODY = b'{"type":"order.paid","id":"1","data":{"total":5}}'


@pytest.mark.enable_socket
@pytest.mark.parametrize("page", ["README.md", "docs/destinations.md"])
def test_a_receiver_verifies(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (project.ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "standardwebhooks" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    servers: list[http.server.HTTPServer] = []

    class OnLoopback(http.server.HTTPServer):
        def __init__(self, _address: Any, handler: Any) -> None:
            super().__init__(("127.0.0.1", 0), handler)
            servers.append(self)

        def serve_forever(self, poll_interval: float = 0.01) -> None:
            """The test serves."""

        def handle_error(self, *_: Any) -> None:
            """A refusal is no answer."""

    monkeypatch.setattr(http.server, "HTTPServer", OnLoopback)
    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "log_message", lambda *_: None)
    exec(code.replace("whsec_...", SECRET), {})
    (server,) = servers
    now = int(datetime.now(UTC).timestamp())
    good = signature_headers([SECRET], "msg_1", now, BODY)
    bad = {**good, "webhook-signature": "v1,AAAA"}

    def serve() -> None:
        for _ in range(2):
            server.handle_request()

    printed = StringIO()
    thread = threading.Thread(target=serve)
    with redirect_stdout(printed), server, Sender(LIMITS, loopback=True) as sender:
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        taken = sender.post(url, BODY, good)
        refused = sender.post(url, BODY, bad)
        thread.join()
    assert taken.status == 204
    assert refused.status is None
    assert "order.paid" in printed.getvalue()
    assert printed.getvalue().count("total") == 1
