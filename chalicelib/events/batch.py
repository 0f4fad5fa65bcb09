"""The body of a batch: split it into items, and read each.

An item's payload is its own text in the body, so numbers, order and spaces stay as they were sent;
only line breaks, which JSON allows between tokens alone, become spaces (`one_line`). The body is
scanned leniently first and each item read strictly after, so that an item which is not strict JSON
is refused alone.
"""

import json
import re
from enum import StrEnum
from typing import NoReturn

from msgspec.structs import replace

from chalicelib.core.errors import FieldError, InvalidJsonError, InvalidRequestError
from chalicelib.core.names import key_fault
from chalicelib.core.strict_json import BOM, parse_json
from chalicelib.events.cloudevents import MAX_FAULTS, escape, read_structured_value
from chalicelib.events.model import Draft, Identity, read_plain

MAX_ITEMS = 500
KEY = "idempotencyKey"


class Form(StrEnum):
    """How the events of a batch are written."""

    PLAIN = "plain"
    """`{"events":[...]}` of plain JSON events, each with its key among its members."""
    CLOUD_EVENTS = "cloudevents"
    """CloudEvents in the JSON Batch Format (JSON event format, section 4)."""


_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_WS = r"[ \t\n\r]*+"
_HEADS = {
    Form.PLAIN: rf"{_WS}\{{{_WS}({_STRING}){_WS}:{_WS}\[{_WS}",
    Form.CLOUD_EVENTS: rf"{_WS}()\[{_WS}",
}
_TAILS = {
    Form.PLAIN: rf"{_WS}\]{_WS}\}}{_WS}",
    Form.CLOUD_EVENTS: rf"{_WS}\]{_WS}",
}
_COMMA = rf"{_WS},{_WS}"
_PLACES = {Form.PLAIN: "/events", Form.CLOUD_EVENTS: ""}
_BRACKETS = rf"(?s:{_STRING}|[\[{{]++|[\]}}]++)"
# Finds where a value ends; `parse_json` says what is wrong with it.
_lenient = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)


def split(body: bytes, form: Form) -> list[bytes]:
    """The items of a body, at most `MAX_ITEMS`, each as it was sent. Only a batch of CloudEvents
    may be empty (JSON event format, section 4.3). Raises `InvalidRequestError` for a body that is
    not JSON or not of this form."""
    # Bytes that are not UTF-8 are passed on, so that only their item is refused.
    text = body.removeprefix(BOM).decode("utf-8", "surrogateescape")
    head = re.match(_HEADS[form], text)
    if head is None or (form is Form.PLAIN and not _is_events(head[1])):
        _refuse(body, form)
    items: list[str] = []
    comma_at = re.compile(_COMMA).match
    position, more = head.end(), not text.startswith("]", head.end())
    if not more and form is Form.PLAIN:
        _refuse_count(form)
    while more:
        end = _end_of_value(text, position)
        if end is None:
            _refuse(body, form)
        items.append(text[position:end])
        if len(items) > MAX_ITEMS:
            _refuse_count(form)
        comma = comma_at(text, end)
        position, more = comma.end() if comma else end, comma is not None
    if not re.compile(_TAILS[form]).fullmatch(text, position):
        _refuse(body, form)
    return [item.encode("utf-8", "surrogateescape") for item in items]


def read_item(payload: bytes, form: Form) -> Draft:
    """One item; raises `InvalidRequestError` with pointers that lead from the item.

    The draft's payload is the item as one line. Its identity is the item's own key, or the
    CloudEvent's source and id.
    """
    if form is Form.CLOUD_EVENTS:
        return read_structured_value(parse_json(payload, exact=True), one_line(payload))
    draft = replace(read_plain(payload), payload=one_line(payload))
    if KEY not in draft.data:
        return draft
    fault = key_fault(draft.data[KEY])
    if fault:
        raise InvalidRequestError.at(f"/{KEY}", fault)
    return replace(draft, identity=Identity("idempotency", draft.data[KEY]))


def one_line(payload: bytes) -> bytes:
    """JSON text with its raw line breaks, which it allows between tokens only, made spaces: the
    same value and the same length."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


def as_stored(payload: bytes, error: InvalidRequestError) -> bytes:
    """The bytes stored of a refused item: one line if it is JSON, else exactly what came."""
    return payload if isinstance(error, InvalidJsonError) else one_line(payload)


def item_pointer(form: Form, index: int) -> str:
    """The JSON Pointer to an item, from the body."""
    return f"{_PLACES[form]}/{index}"


def _is_events(name: str) -> bool:
    try:
        return bool(json.loads(name, strict=False) == "events")
    except ValueError:
        return False


def _end_of_value(text: str, start: int) -> int | None:
    """Where the JSON value that begins at `start` ends; None if none does."""
    try:
        return _lenient.raw_decode(text, start)[1]
    except RecursionError:
        return _end_of_brackets(text, start)
    except ValueError:
        return None


def _end_of_brackets(text: str, start: int) -> int | None:
    """The same for a value nested too deeply to parse: where its brackets are closed."""
    depth = 0
    for match in re.compile(_BRACKETS).finditer(text, start):
        length = match.end() - match.start()
        if text[match.start()] in "[{":
            depth += length
        elif text[match.start()] in "]}":
            if length >= depth:
                return match.start() + depth
            depth -= length
    return None


def _refuse_count(form: Form) -> NoReturn:
    raise InvalidRequestError.at(_PLACES[form], f"must hold 1 to {MAX_ITEMS} events")


def _refuse(body: bytes, form: Form) -> NoReturn:
    """Raise what is wrong with a body that could not be split."""
    events = document = parse_json(body)
    if form is Form.PLAIN:
        if not isinstance(document, dict):
            raise InvalidRequestError.at("", "must be a JSON object with the member events")
        unknown = [name for name in document if name != "events"]
        faults = [FieldError(f"/{escape(name)}", "is not known here") for name in unknown]
        if "events" not in document:
            faults.append(FieldError("/events", "is required"))
        if faults:
            raise InvalidRequestError("the batch cannot be understood", faults[:MAX_FAULTS])
        events = document["events"]
    if not isinstance(events, list):
        raise InvalidRequestError.at(_PLACES[form], "must be a JSON array of events")
    if not 1 <= len(events) <= MAX_ITEMS:
        _refuse_count(form)
    raise InvalidRequestError.at("", "cannot be taken apart")
