"""The routes of events: send one or many, list, read."""

from functools import partial

from msgspec import to_builtins

from chalicelib.core import clock
from chalicelib.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.media_types import CLOUD_EVENT, CLOUD_EVENTS, JSON, is_in_utf8, is_json_in_utf8
from chalicelib.core.metrics import note
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.events import description, read
from chalicelib.events.batch import KEY, MAX_ITEMS, Form
from chalicelib.events.cloudevents import read_structured
from chalicelib.events.cloudevents_http import is_binary, read_binary
from chalicelib.events.ingest import IngestDeps, Receipt, Submission, ingest
from chalicelib.events.ingest_batch import Batch, ingest_batch
from chalicelib.events.model import Identity, Listing, Status, read_plain
from chalicelib.events.read import ReadDeps
from chalicelib.web.describe import (
    IDEMPOTENCY_KEY,
    LOCATION,
    PAGE,
    REPLAYED,
    Json,
    Operation,
    event_type,
    path,
    query,
    response,
    shared,
    text,
    uuid,
)
from chalicelib.web.request import PageQuery, Request
from chalicelib.web.responses import Response, answer, created, page, stored

TAG = "Events"
EVENT_ID_PARAMETER = shared(path("event_id", "The event's id.", uuid()))
_LINKS = {
    view: {"event_id": "$response.body#/eventId"}
    for view in ("get_event", "get_payload", "get_result", "post_replay")
}


def accepted_response(**headers: Json) -> Json:
    """What the document says of `accepted`, with `headers` beside its Location."""
    text = "The payload is stored; the event ends PROCESSED or FAILED."
    return response(text, description.ACCEPTED, {"Location": LOCATION, **headers}, _LINKS)


POST_EVENT = Operation(
    TAG,
    "Send an event",
    {
        202: response(
            "The event is stored; in batched mode, a verdict for each.",
            description.ACCEPTED_OR_RESULTS,
            {"Location": {**LOCATION, "required": False}, "Idempotent-Replayed": REPLAYED},
            _LINKS,
        )
    },
    (415, 422),
    description="Plain JSON, or CloudEvents 1.0 in structured, batched or binary mode. In binary"
    " mode the `ce-` headers make the event and the body is its data, of any type. A CloudEvent is"
    " idempotent by its source and id. An event may have 1 MiB unless the stage sets another"
    " limit.",
    parameters=[IDEMPOTENCY_KEY, *description.CE_HEADERS],
    body=description.EVENT_BODY,
)
POST_BATCH = Operation(
    TAG,
    f"Send up to {MAX_ITEMS} events",
    {202: response("A verdict for each.", description.RESULTS)},
    (415,),
    description="One bad item never refuses the others. Safe to send again whole: items with a key"
    " are not stored twice.",
    body=description.BATCH_BODY,
)
LIST_EVENTS = Operation(
    TAG,
    "A page of events, newest first",
    {200: response("The page.", description.EVENT_PAGE)},
    parameters=[
        query("eventType", event_type(), "Only events of this type."),
        query("status", description.STATUS, "Only those in this status."),
        query("from", text(format="date-time"), "Received then or later (ISO 8601)."),
        query("to", text(format="date-time"), "Received then or before (ISO 8601)."),
        *PAGE,
    ],
)
GET_EVENT = Operation(
    TAG,
    "One event: its facts and its status",
    {
        200: response(
            f"The record; with `Accept: {CLOUD_EVENT}`, the event itself as a CloudEvent, and one"
            " that came structured byte for byte.",
            description.EVENT,
        )
    },
    (404,),
    parameters=[EVENT_ID_PARAMETER],
)
GET_PAYLOAD = Operation(
    TAG,
    "The payload, byte for byte as it was sent",
    {
        200: response(
            "The payload, as an attachment unless it is JSON.",
            description.PAYLOAD,
            {"Content-Disposition": {"schema": text(const="attachment")}},
        )
    },
    (404,),
    parameters=[EVENT_ID_PARAMETER],
)
GET_RESULT = Operation(
    TAG,
    "The silver document that processing made",
    {200: response("The document.", description.SILVER)},
    (404, 409),
    description="409 while the event is not PROCESSED.",
    parameters=[EVENT_ID_PARAMETER],
)


def post_event(request: Request, deps: IngestDeps) -> Response:
    """`POST /events`: one event, or CloudEvents in batched mode."""
    if is_in_utf8(request.content_type, CLOUD_EVENTS):
        return _ingest_batch(request, Form.CLOUD_EVENTS, "source and id", deps)
    return accepted(ingest(decode_submission(request), deps))


def post_batch(request: Request, deps: IngestDeps) -> Response:
    """`POST /events/batch`: `{"events":[...]}`, a verdict for each."""
    request.check_json("a batch is")
    return _ingest_batch(request, Form.PLAIN, KEY, deps)


def list_events(request: Request, deps: ReadDeps) -> Response:
    """`GET /events`: an admin sees the events of every owner."""
    asked = request.page("eventType", "status", "from", "to")
    listing = decode_listing(asked, request.caller.sees_only)
    return page(*read.list_events(listing, asked.below, deps))


def get_event(request: Request, event_id: str, deps: ReadDeps) -> Response:
    """`GET /events/{event_id}`: the record, or the CloudEvent if `Accept` asks for it."""
    if wants_cloud_event(request):
        return stored(read.read_cloud_event(event_id, request.caller, deps), CLOUD_EVENT)
    return answer(read.read_event(event_id, request.caller, deps).to_dict())


def get_payload(request: Request, event_id: str, deps: ReadDeps) -> Response:
    """`GET /events/{event_id}/payload`: the bytes as they were sent."""
    return stored(*read.read_payload(event_id, request.caller, deps))


def get_result(request: Request, event_id: str, deps: ReadDeps) -> Response:
    """`GET /events/{event_id}/result`: the silver document."""
    return stored(read.read_result(event_id, request.caller, deps), JSON)


def accepted(receipt: Receipt) -> Response:
    """202: the event is stored. `Idempotent-Replayed` says that an earlier request stored it."""
    note(eventId=receipt.event_id)
    body = {"status": "accepted", "eventId": receipt.event_id}
    return created(body, f"/events/{receipt.event_id}", 202, replayed=receipt.replayed)


def wants_cloud_event(request: Request) -> bool:
    """Whether `Accept` asks for the event as a CloudEvent."""
    wanted = (request.header("accept") or "").split(",")
    return any(part.partition(";")[0].strip().lower() == CLOUD_EVENT for part in wanted)


def decode_submission(request: Request) -> Submission:
    """One event: a CloudEvent if its content type or its `ce-` headers say so, else plain JSON."""
    key, sent_as, body = request.idempotency_key, request.content_type, request.body
    identity = None if key is None else Identity("idempotency", key)
    if is_in_utf8(sent_as, CLOUD_EVENT):
        sent_as, read_draft = CLOUD_EVENT, partial(read_structured, body, identity)
    elif is_binary(request.headers):
        read_draft = partial(read_binary, request.headers, body, identity, request.repeated)
    elif is_json_in_utf8(sent_as):
        sent_as, read_draft = JSON, partial(read_plain, body, identity)
    else:
        raise UnsupportedMediaTypeError(f"an event is sent as {JSON} or {CLOUD_EVENT}, in UTF-8")
    return Submission(body, sent_as, request.caller.owner, request.request_id, read_draft)


def decode_listing(asked: PageQuery, owner: str | None) -> Listing:
    """What `GET /events` lists; `owner` None: the events of every owner."""
    status, kind = asked.filters.get("status"), asked.filters.get("eventType")
    if status is not None and status not in set(Status):
        raise InvalidRequestError.at("/query/status", f"must be one of {', '.join(Status)}")
    fault = None if kind is None else name_fault(kind, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/query/eventType", fault)
    times = {"start": asked.moment("from"), "end": asked.moment("to")}
    return Listing(
        owner=owner,
        event_type=kind,
        status=None if status is None else Status(status),
        limit=asked.limit,
        **{name: clock.to_text(time) for name, time in times.items() if time is not None},
    )


def _ingest_batch(request: Request, form: Form, identity: str, deps: IngestDeps) -> Response:
    if request.header("idempotency-key") is not None:
        # To ignore it would let a sender believe that it is safe to repeat the request.
        detail = f"is for one event; in a batch each has its own {identity}"
        raise InvalidRequestError.at("/header/Idempotency-Key", detail)
    batch = Batch(request.body, form, request.caller.owner, request.request_id)
    return answer({"results": to_builtins(ingest_batch(batch, deps))}, 202)
