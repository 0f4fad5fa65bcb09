"""The proxy `microburst` between the functions and the emulator: `python -m tests.chaos.proxy`.

It is microburst as published, with three things more that a rehearsal needs: its random numbers
have a seed, a connection can be reset after the request took effect whatever the answer's length
(a rule with `abort_bytes` 0), and it counts which requests were repetitions of the SDK's.
Source: AWS SDKs and Tools Reference Guide, "amz-sdk-request".
"""

import argparse
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from aiohttp import ClientError, web
from microburst.app import make_app  # type: ignore[import-untyped]
from microburst.core.pipeline import Microburst  # type: ignore[import-untyped]
from microburst.forward import Upstream  # type: ignore[import-untyped]
from yarl import URL

from tests.chaos.witness import Witness

COUNTS, SEEN = "/_chaos/counts", "/_chaos/seen"
# A package of functions is deployed through the proxy too.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_ATTEMPT = re.compile(r"attempt=(\d+)")
_BODY = "body"
_FORM = "application/x-www-form-urlencoded"
_decision: ContextVar[Any] = ContextVar("what was decided on the request", default=None)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EffectiveUpstream(Upstream):  # type: ignore[misc]  # it ships no types
    """Relays under the client's own Host and path, letter by letter: its signature covers both."""

    async def start(self) -> None:
        """Open the connections."""
        await super().start()
        assert self.session is not None
        # It would write `%3D` as `=`, which is the same to all but a signature.
        self.session._build_url = lambda text: URL(str(text), encoded=True)

    def _outbound_headers(self, request: web.Request) -> dict[str, str]:
        headers: dict[str, str] = super()._outbound_headers(request)
        headers["host"] = request.headers["Host"]
        return headers

    async def relay(
        self, request: web.Request, body: bytes | None, mutator: Any = None, data: Any = None
    ) -> web.StreamResponse:
        """Forward; with `abort_bytes` 0 let it take effect, and cut the caller off."""
        assert self.session is not None
        # What a witness read cannot be read again.
        body = request.get(_BODY, body)
        if request.method == "HEAD":
            return await self._relay_head(request)
        if mutator is None or mutator.abort_bytes != 0:
            answer: web.StreamResponse = await super().relay(request, body, mutator, data)
            return answer
        try:
            async with self.session.request(
                request.method,
                self.base_url + request.rel_url.raw_path_qs,
                headers=self._outbound_headers(request),
                data=body if body is not None else await request.read(),
                allow_redirects=False,
            ) as done:
                await done.read()
        except ClientError:
            pass  # Then it is a reset before the effect.
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # Never written: the connection is gone.

    async def _relay_head(self, request: web.Request) -> web.StreamResponse:
        """Forward with the length of the body that is not sent, which microburst drops."""
        assert self.session is not None
        url = self.base_url + request.rel_url.raw_path_qs
        async with self.session.head(url, headers=self._outbound_headers(request)) as done:
            return web.Response(status=done.status, headers=done.headers)


def counting(counts: Counter[str], witness: Witness) -> Any:
    """A middleware that counts requests and those that the SDK repeats, lets a witness see them,
    and tells of both."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == COUNTS:
            return web.json_response(dict(counts))
        if request.path == SEEN:
            return web.json_response(vars(witness))
        if request.path.startswith("/_microburst"):
            return await handler(request)
        counts["requests"] += 1
        attempt = _ATTEMPT.search(request.headers.get("amz-sdk-request", ""))
        counts["retries"] += attempt is not None and int(attempt[1]) > 1
        target = request.headers.get("X-Amz-Target", "")
        body = ""
        if target or request.content_type == _FORM:
            request[_BODY] = await request.read()
            body = request[_BODY].decode(errors="replace")
            target = target or ("Publish" if "Action=Publish" in body else "")
        _decision.set(None)
        arrived, done = time.time(), False
        try:
            answer = await handler(request)
            done = answer.status == web.HTTPOk.status_code
            return answer
        finally:
            took = time.time() - arrived
            witness.see(target, body, _decision.get(), arrived, done=done, seconds=took)

    return count


def _watch_decisions(burst: Any) -> None:
    """Leave what microburst decides on a request where the middleware finds it."""
    decide = burst.engine.decide

    def deciding(info: Any) -> Any:
        decision = decide(info)
        _decision.set(decision)
        return decision

    burst.engine.decide = deciding


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    random.seed(options.seed)
    burst = Microburst(options.upstream, resign=False)
    burst.upstream = EffectiveUpstream(options.upstream, stats=burst.stats)
    _watch_decisions(burst)
    app = make_app(burst)
    app._client_max_size = _MAX_BODY_BYTES
    app.middlewares.append(counting(Counter(), Witness()))
    web.run_app(app, host="127.0.0.1", port=options.port, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
