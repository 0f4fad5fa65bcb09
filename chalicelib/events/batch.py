"""Many events in one request: taking the body apart, and reading each item.

An item's payload is its own text in the body, byte for byte, so numbers, order and spaces stay as
they were sent. The body is scanned leniently first and each item read strictly after, so that an
item nobody could read alike is refused alone.

What becomes of each item of a batch.
"""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NoReturn

from msgspec import Struct
from msgspec.structs import asdict, replace

from chalicelib.core.errors import FieldError, InvalidJsonError, InvalidRequestError
from chalicelib.core.names import key_fault
from chalicelib.core.strict_json import parse_json
from chalicelib.events.cloudevents import read_structured_value
from chalicelib.events.model import Draft, Identity, read_plain

MAX_ITEMS = 500
KEY = "idempotencyKey"
_MAX_FAULTS = 20


class Form(StrEnum):
    """How the events of a batch are written."""

    PLAIN = "plain"
    """`{"events":[...]}` of plain JSON events, each with its key among its members."""
    CLOUD_EVENTS = "cloudevents"
    """CloudEvents in the JSON Batch Format (JSON event format, section 4)."""


_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACE = re.compile(r"[ \t\n\r]*+")
_HEADS = {
    Form.PLAIN: re.compile(rf"[ \t\n\r]*+\{{[ \t\n\r]*+({_STRING})[ \t\n\r]*+:[ \t\n\r]*+\["),
    Form.CLOUD_EVENTS: re.compile(r"[ \t\n\r]*+()\["),
}
_TAILS = {
    Form.PLAIN: re.compile(r"[ \t\n\r]*+\}[ \t\n\r]*+"),
    Form.CLOUD_EVENTS: re.compile(r"[ \t\n\r]*+"),
}
_PLACES = {Form.PLAIN: "/events", Form.CLOUD_EVENTS: ""}
_BRACKETS = re.compile(rf"{_STRING}|[\[{{]++|[\]}}]++", re.DOTALL)
# Finds where a value ends; what is wrong with it is for `parse_json` to say.
_lenient = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)


def split(body: bytes, form: Form) -> list[bytes]:
    """The items of a body, 1 to `MAX_ITEMS`, each as it was sent; or raises `InvalidRequestError`
    for a body that is not JSON or not of this form."""
    # What is no UTF-8 is passed on, for the item that it is in to be refused.
    text = body.decode("utf-8", "surrogateescape")
    head = _HEADS[form].match(text)
    if head is None or (form is Form.PLAIN and not _is_events(head[1])):
        _refuse(body, form)
    places: list[tuple[int, int]] = []
    position = _after_space(text, head.end())
    if text.startswith("]", position):
        _refuse_count(form)
    while True:
        end = _end_of_value(text, position)
        if end is None:
            _refuse(body, form)
        places.append((position, end))
        if len(places) > MAX_ITEMS:
            _refuse_count(form)
        position = _after_space(text, end)
        if not text.startswith(",", position):
            break
        position = _after_space(text, position + 1)
    if not text.startswith("]", position) or not _TAILS[form].fullmatch(text, position + 1):
        _refuse(body, form)
    return [text[start:end].encode("utf-8", "surrogateescape") for start, end in places]


def read_item(payload: bytes, form: Form) -> Draft:
    """One item; raises `InvalidRequestError` with pointers that lead from the item.

    The draft's payload is the item as one line: raw line breaks, which JSON allows between tokens
    only, have become spaces. Its identity is the item's own key, or the CloudEvent's source and id.
    """
    if form is Form.CLOUD_EVENTS:
        return read_structured_value(parse_json(payload), one_line(payload))
    draft = replace(read_plain(payload), payload=one_line(payload))
    if KEY not in draft.data:
        return draft
    fault = key_fault(draft.data[KEY])
    if fault:
        raise InvalidRequestError.at(f"/{KEY}", fault)
    return replace(draft, identity=Identity("idempotency", draft.data[KEY]))


def one_line(payload: bytes) -> bytes:
    """JSON text with its raw line breaks made spaces: the same value and the same length."""
    return payload.replace(b"\n", b" ").replace(b"\r", b" ")


def as_kept(payload: bytes, error: InvalidRequestError) -> bytes:
    """What is kept of an item that was refused: one line if it is JSON, else exactly what came."""
    return payload if isinstance(error, InvalidJsonError) else one_line(payload)


def item_pointer(form: Form, index: int) -> str:
    """The JSON Pointer to an item, from the body."""
    return f"{_PLACES[form]}/{index}"


def _is_events(name: str) -> bool:
    try:
        return bool(json.loads(name, strict=False) == "events")
    except ValueError:
        return False


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _end_of_value(text: str, start: int) -> int | None:
    """Where the JSON value that begins at `start` ends; None if none does."""
    try:
        _, end = _lenient.raw_decode(text, start)
    except RecursionError:
        return _end_of_brackets(text, start)
    except ValueError:
        return None
    return end


def _end_of_brackets(text: str, start: int) -> int | None:
    """The same for a value nested too deeply to parse: where its brackets are closed."""
    depth = 0
    for match in _BRACKETS.finditer(text, start):
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
    """Say why a body could not be taken apart."""
    document = parse_json(body)
    events = document
    if form is Form.PLAIN:
        if not isinstance(document, dict):
            raise InvalidRequestError.at("", "must be a JSON object with the member events")
        faults = [
            FieldError(f"/{name[:64].replace('~', '~0').replace('/', '~1')}", "is not known here")
            for name in document
            if name != "events"
        ]
        if "events" not in document:
            faults.append(FieldError("/events", "is required"))
        if faults:
            raise InvalidRequestError("the batch cannot be understood", faults[:_MAX_FAULTS])
        events = document["events"]
    if not isinstance(events, list):
        raise InvalidRequestError.at(_PLACES[form], "must be a JSON array of events")
    if not 1 <= len(events) <= MAX_ITEMS:
        _refuse_count(form)
    raise InvalidRequestError.at("", "cannot be taken apart")


class Outcome(StrEnum):
    """The word for it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It was kept before, by its key or its CloudEvent's source and id."""
    REJECTED = "rejected"
    """Refused for its content. With an event id it is kept as a REJECTED event."""
    FAILED = "failed"
    """AWS did not keep it; to be sent again."""


class Verdict(Struct, frozen=True):
    """The answer for one item. Pointers lead from the body of the request."""

    index: int
    outcome: Outcome
    event_id: str | None = None
    errors: Sequence[FieldError] = ()

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "index": self.index,
            "status": str(self.outcome),
            "eventId": self.event_id,
            "errors": [asdict(error) for error in self.errors],
        }


class Item(Struct):
    """One item of a batch on its way to a verdict. `payload` is what is kept of it."""

    index: int
    form: Form
    payload: bytes
    draft: Draft | None = None
    schema_version: int | None = None
    refusal: InvalidRequestError | None = None
    event_id: str | None = None
    """The id that its identity stands for; None without one."""
    leader: "Item | None" = None
    """The item before it with the same identity and payload: what becomes of that, becomes of
    this one."""
    verdict: Verdict | None = None

    @property
    def is_new(self) -> bool:
        """Whether it is to be kept as an event."""
        return self.verdict is None and self.refusal is None and self.leader is None

    def accept(self, event_id: str, *, before: bool = False) -> None:
        """It is kept; `before` says that it was so already."""
        outcome = Outcome.DUPLICATE if before else Outcome.ACCEPTED
        self.verdict = Verdict(self.index, outcome, event_id)

    def reject(self, errors: Sequence[FieldError], event_id: str | None = None) -> None:
        """It is refused, for `errors` that point into the item."""
        place = item_pointer(self.form, self.index)
        told = [FieldError(place + error.pointer, error.detail) for error in errors]
        self.verdict = Verdict(self.index, Outcome.REJECTED, event_id, told)

    def reject_conflict(self) -> None:
        """Its identity stands for another content."""
        of = "key" if self.form is Form.PLAIN else "source and id"
        self.reject([FieldError("", f"this {of} came before with another content")])

    def fail(self) -> None:
        """AWS did not keep it."""
        place = item_pointer(self.form, self.index)
        detail = "was not kept, since AWS did not answer; send it again"
        self.verdict = Verdict(self.index, Outcome.FAILED, errors=[FieldError(place, detail)])

    def follow(self, leader: Verdict) -> None:
        """The same as its leader; what that was accepted as, this one repeats."""
        if leader.event_id is not None:
            self.accept(leader.event_id, before=True)
        elif leader.outcome is Outcome.REJECTED:
            self.reject_conflict()
        else:
            self.fail()
