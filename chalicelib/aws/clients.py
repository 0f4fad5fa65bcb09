"""What holds of every call to AWS: its time-outs, the deadline of the run, a whole answer.

An error that is raised here is one of botocore's, and none that it tries again for: to a caller it
is as if AWS had not answered.
"""

import threading
from functools import cache
from typing import Any

from chalicelib.core import deadline
from chalicelib.core.config import settings
from chalicelib.core.errors import UnavailableError
from chalicelib.core.log import log

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 1, 2, 3
"""An attempt that hangs takes 3 s, a call 9 s and up to 3 s of back-off. That alone keeps no route
of several calls within 29 s: see `keep_deadline`."""
ATTEMPT_SECONDS = CONNECT_SECONDS + READ_SECONDS
_lock = threading.RLock()


def aws(service: str) -> Any:
    """The client of a service."""
    with _lock:
        return _client(service)


def reset() -> None:
    """Forget every client, so that the next use makes it anew (tests)."""
    _session.cache_clear()
    sdk_fault.cache_clear()
    _client.cache_clear()


OLDEST_BOTOCORE = (1, 35, 2)
"""The first that knows all that is sent: `IfNoneMatch` of S3's PutObject is from August 2024
(botocore's CHANGELOG). The Lambda runtime brings its own botocore, the archive none."""


@cache
def sdk_fault() -> str | None:
    """What is wrong with the botocore of this process, None if nothing is. Told in the log once."""
    import botocore

    found = tuple(int(part) for part in botocore.__version__.split(".")[:3] if part.isdecimal())
    if found >= OLDEST_BOTOCORE:
        return None
    needed = ".".join(map(str, OLDEST_BOTOCORE))
    fault = f"botocore {botocore.__version__} is too old: {needed} is needed"
    log.error("botocore too old", extra={"found": botocore.__version__, "needed": needed})
    return fault


@cache
def _session() -> Any:
    import botocore.session

    if (fault := sdk_fault()) is not None:
        raise UnavailableError(fault)
    return botocore.session.Session()


@cache
def _client(service: str) -> Any:
    from botocore.config import Config

    # A signed form must be of Signature Version 4 and name the bucket's own region.
    special = {"signature_version": "s3v4", "s3": {"addressing_style": "virtual"}}
    client = _session().create_client(
        service,
        region_name=settings().region,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            tcp_keepalive=True,
            max_pool_connections=25,
            **(special if service == "s3" else {}),
        ),
    )
    watch(client)
    return client


def watch(client: Any) -> None:
    """Have a client keep to it."""
    # First of all, so that nothing is signed in vain. Emitted for each attempt, not each call.
    client.meta.events.register_first("request-created", keep_deadline)
    client.meta.events.register("before-parse", check_whole)


def keep_deadline(**_: Any) -> None:
    """Begin no attempt that may not come to its end in the time of this run."""
    if deadline.seconds_left() < ATTEMPT_SECONDS:
        from botocore.exceptions import HTTPClientError

        raise HTTPClientError(error="no time is left for an attempt")


def check_whole(operation_model: Any, response_dict: Any, **_: Any) -> None:
    """Refuse an answer in JSON that was cut short on its way.

    The SDK takes one for an answer that holds nothing: no such token, no such event. Of one that
    tells its length it finds out by itself. AWS tells it always; what is in between may not.
    """
    is_json = operation_model.service_model.metadata.get("protocol") == "json"
    if not is_json or "content-length" in response_dict["headers"] or not response_dict["body"]:
        return
    import json

    try:
        json.loads(response_dict["body"])
    except ValueError as error:
        from botocore.exceptions import HTTPClientError

        raise HTTPClientError(error="the answer ends before its end") from error
