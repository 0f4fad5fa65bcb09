"""What a handler gets: the request of a route, or the event of any other function."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import (
    FieldError,
    ForbiddenError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from chalicelib.core.media_types import JSON, is_json_in_utf8
from chalicelib.core.names import is_owner, key_fault
from chalicelib.core.paging import decode_cursor
from chalicelib.web.callers import Caller

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_LIMIT = rf"[1-9][0-9]{{0,{len(str(MAX_LIMIT)) - 1}}}"
_LONGEST_SECONDS = 30 * 86400
_NO_CURSOR = "is not a cursor that was handed out"


class Request(Struct, frozen=True):
    """One request. Header names are lower case; `path` is as it was sent."""

    caller: Caller
    request_id: str
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    body: bytes
    repeated: frozenset[str] = frozenset()
    """The (lower case) names of headers that came more than once."""
    path: str = ""

    def header(self, name: str) -> str | None:
        """The header of that (lower case) name; None if it is absent."""
        return self.headers.get(name)

    @property
    def content_type(self) -> str:
        """The Content-Type; JSON when the client did not say."""
        return (self.header("content-type") or JSON).strip()

    @property
    def idempotency_key(self) -> str | None:
        """The `Idempotency-Key`; raises `InvalidRequestError` for one that cannot be a key."""
        key = self.header("idempotency-key")
        fault = None if key is None else key_fault(key)
        if "idempotency-key" in self.repeated:
            fault = "comes twice"
        if fault:
            raise InvalidRequestError.at("/header/Idempotency-Key", fault)
        return key

    def check_json(self, what: str = "the body is") -> None:
        """Raise `UnsupportedMediaTypeError` unless the body is sent as JSON in UTF-8."""
        if not is_json_in_utf8(self.content_type):
            raise UnsupportedMediaTypeError(f"{what} sent as {JSON} in UTF-8")

    def parameters(self, *known: str) -> dict[str, str]:
        """The query parameters; raises `InvalidRequestError` for one that is not `known` or that
        comes twice."""
        faults = [
            FieldError(f"/query/{name}", "comes twice" if name in known else "is not known here")
            for name, values in self.query.items()
            if name not in known or len(values) != 1
        ]
        if faults:
            raise InvalidRequestError("the query cannot be understood", faults)
        return {name: values[0] for name, values in self.query.items()}

    def page(
        self, *filters: str, read_cursor: Callable[[str], str | None] = decode_cursor
    ) -> "PageQuery":
        """The page that a list is asked for: `limit`, `cursor` and the `filters` of the route."""
        given = self.parameters("limit", "cursor", *filters)
        limit, cursor = given.pop("limit", str(DEFAULT_LIMIT)), given.pop("cursor", None)
        if not re.fullmatch(_LIMIT, limit) or int(limit) > MAX_LIMIT:
            raise InvalidRequestError.at(
                "/query/limit", f"must be a whole number, 1 to {MAX_LIMIT}"
            )
        below = None if cursor is None else read_cursor(cursor)
        if cursor is not None and below is None:
            raise InvalidRequestError.at("/query/cursor", _NO_CURSOR)
        return PageQuery(int(limit), below, given)

    def owned_page(self) -> tuple[str, "PageQuery"]:
        """(owner, page) of a list of what one owner has: the caller's own; an admin may name
        another `owner`."""
        page = self.page("owner")
        owner = page.filters.get("owner", self.caller.owner)
        if not is_owner(owner):
            raise InvalidRequestError.at("/query/owner", "is not an owner's name")
        if owner != self.caller.owner and not self.caller.is_admin:
            raise ForbiddenError("only an admin may list what another owner has")
        return owner, page


class PageQuery(Struct, frozen=True):
    """One page of a list: its size, the key to go on below (None: from the start), the filters."""

    limit: int
    below: str | None
    filters: Mapping[str, str] = {}

    def moment(self, name: str) -> datetime | None:
        """The filter `name` as a time; raises `InvalidRequestError` for what is not one."""
        if name not in self.filters:
            return None
        # A `+` that was not percent-encoded arrives as a space.
        moment = read_moment(self.filters[name].replace(" ", "+"))
        if moment is None:
            raise InvalidRequestError.at(f"/query/{name}", "must be an ISO 8601 date or time")
        return moment


def read_moment(text: Any) -> datetime | None:
    """The moment that a text names in ISO 8601; None when it names none."""
    try:
        return clock.from_text(text)
    except (ValueError, TypeError, OverflowError):
        return None


class LambdaEvent:
    """What Lambda handed to a function that no request started.

    Chalice's own event classes take events apart first: that for schedules fails on what an
    operator sends by hand, those for S3 and SNS read the first record only, that for streams fails
    on a malformed one.
    """

    def __init__(self, event: Any, context: Any) -> None:
        self._event = event if isinstance(event, dict) else {}
        self.context = context

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records)

    def to_dict(self) -> dict[str, Any]:
        """The payload."""
        return self._event

    @property
    def records(self) -> list[Any]:
        """The records of a queue, a topic or a stream."""
        records: list[Any] = self._event.get("Records", [])
        return records

    @property
    def run_id(self) -> str:
        """The id under which this run is logged."""
        return str(self.context.aws_request_id)

    def seconds_left(self) -> float:
        """The seconds until Lambda ends this run."""
        left: float = self.context.get_remaining_time_in_millis() / 1000
        return left

    def seconds(self, name: str) -> int | None:
        """The option `name`, in seconds; None when it was not given."""
        value = self._event.get(name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= _LONGEST_SECONDS):
            raise InvalidRequestError.at(f"/{name}", "must be a whole number of seconds")
        return value
