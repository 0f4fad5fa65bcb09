"""The routes of events: send one or many, list, find, follow, read."""

from collections.abc import Sequence
from functools import partial

from msgspec import to_builtins

from chalicelib.core import clock
from chalicelib.core.errors import FieldError, InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.ids import is_event_id
from chalicelib.core.media_types import CLOUD_EVENT, CLOUD_EVENTS, JSON, is_in_utf8, is_json_in_utf8
from chalicelib.core.metrics import note
from chalicelib.core.names import (
    MAX_KEY_CHARACTERS,
    MAX_NAME_BYTES,
    MAX_TYPE_BYTES,
    is_owner,
    key_fault,
    name_fault,
)
from chalicelib.core.paging import NEWEST, OLDEST, decode_cursor, encode_cursor
from chalicelib.events import description, read
from chalicelib.events.batch import KEY, MAX_ITEMS, Form
from chalicelib.events.cloudevents import read_structured
from chalicelib.events.cloudevents_http import is_binary, read_binary
from chalicelib.events.failures import FAILURES, LOOKED_AT, group_failures
from chalicelib.events.ingest import IngestDeps, Receipt, Submission, ingest
from chalicelib.events.ingest_batch import Batch, ingest_batch
from chalicelib.events.model import Identity, Listing, Record, Status, read_plain
from chalicelib.events.read import ReadDeps
from chalicelib.events.stats import EVERYBODY, FIRST, STEPS, StatStore, totals
from chalicelib.events.tail import SETTLE, decode_mark, encode_mark
from chalicelib.web.body import refuse
from chalicelib.web.callers import Caller
from chalicelib.web.describe import (
    CURSOR,
    CURSOR_PATTERN,
    IDEMPOTENCY_KEY,
    LOCATION,
    OWNER_PATTERN,
    PAGE,
    REPLAYED,
    Json,
    Operation,
    event_type,
    header_text,
    name,
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
_FILTERS = ("eventType", "status", "from", "to", "replayOf")
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
        query("owner", text(pattern=OWNER_PATTERN), "Only this owner's; for admins."),
        query("replayOf", uuid(), "Only events that repeat this one."),
        query(
            "after",
            text(pattern=CURSOR_PATTERN, maxLength=1024),
            "The `newest` of the answer before: only what was received since; not with `cursor`.",
            example=CURSOR,
        ),
        query(
            "idempotencyKey",
            header_text(MAX_KEY_CHARACTERS),
            "The one event that was sent with this key; only with `owner`.",
        ),
        query(
            "source",
            name("The source."),
            "With `id`: the one CloudEvent of this source and id; only with `owner`.",
        ),
        query("id", name("The id."), "The id of the CloudEvent, with its `source`."),
        *PAGE,
    ],
    description="To follow a list, ask with `after` and send back the `newest` of each answer: it"
    " has the oldest of what is new, so ask again at once while it has any. Nothing comes twice,"
    f" and nothing is missed that shows within {int(SETTLE.total_seconds())} s of being received. A"
    " search by key, or by source and id, costs one read. An event that was sent with a key is"
    " found by the key alone; an admin who names no owner searches among their own.",
)
_FOUND_BY = ("idempotencyKey", "source", "id")
LIST_FAILURES = Operation(
    TAG,
    "FAILED and REJECTED events in groups: by type, class and code of the error",
    {
        200: response(
            "The groups; those whose last event failed last come first.", description.FAILURE_PAGE
        )
    },
    description=f"An answer is made of the newest {LOOKED_AT} events of each status. While there is"
    " a `cursor` there are more: ask with it, and add the counts of equal groups.",
    parameters=[
        query("eventType", event_type(), "Only events of this type."),
        query("status", description.FAILURE_STATUS, "Only those in this status."),
        query("from", text(format="date-time"), "Received then or later (ISO 8601)."),
        query("to", text(format="date-time"), "Received then or before (ISO 8601)."),
        query("owner", text(pattern=OWNER_PATTERN), "Only this owner's; for admins."),
        PAGE[1],
    ],
)
GET_STATS = Operation(
    TAG,
    "How many events came, and how they ended, by minute, hour or day",
    {200: response("Every step of the window, the oldest first.", description.STATS_PAGE)},
    description="An event counts as accepted in the minute in which it was received, once the"
    " worker gets it, else in the minute of its end. The counters are close, not exact: a run that"
    " dies loses what it counted, and a delivery that came twice may count twice; the list of"
    " events is exact. They are kept for eight days. A percentile is right within a fifth. An admin"
    " sees the sums of all owners.",
    parameters=[
        query("from", text(format="date-time"), "The first moment (ISO 8601)."),
        query("to", text(format="date-time"), "The last moment (ISO 8601); now at the latest."),
        query("step", description.STEP, "How long each step is, in UTC."),
        query("owner", text(pattern=OWNER_PATTERN), "Only this owner's; for admins."),
    ],
)
GET_EVENT = Operation(
    TAG,
    "One event: its facts and its status",
    {
        200: response(
            f"The record; with `Accept: {CLOUD_EVENT}`, the event itself as a CloudEvent, and one"
            " that came structured byte for byte, unless its `data_base64` is null.",
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
            "The payload, as an attachment unless it is JSON. Line breaks between tokens of an item"
            " of a batch are spaces.",
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
    """`GET /events`: an admin sees the events of every owner. One call for a search by identity,
    else those of `read.list_events`."""
    asked = request.page(*_FILTERS, "owner", "after", *_FOUND_BY)
    owner = decode_owner(asked, request.caller)
    if any(given in asked.filters for given in _FOUND_BY):
        found = read.find_event(decode_identity(asked), owner or request.caller.owner, deps)
        return _page([] if found is None else [found], None, None)
    listing = decode_listing(asked, owner)
    now = clock.utc_now()
    if "after" in asked.filters:
        mark = decode_mark(asked.filters["after"])
        if mark is None or asked.below is not None:
            fault = "does not go with a cursor" if mark else "was not handed out as newest"
            raise InvalidRequestError.at("/query/after", fault)
        records, mark = read.list_newer(listing, mark, now, deps)
        return _page(records, None, encode_mark(mark))
    records, resume = read.list_events(listing, asked.below, deps)
    is_first = asked.below is None
    newest = encode_mark(read.first_mark(records, resume, now)) if is_first else None
    return _page(records, resume, newest)


def list_failures(request: Request, deps: ReadDeps) -> Response:
    """`GET /failures`: an admin sees the events of every owner."""
    given = request.parameters("eventType", "status", "from", "to", "owner", "cursor")
    cursor = given.pop("cursor", None)
    below = None if cursor is None else decode_cursor(cursor)
    if cursor is not None and below is None:
        raise InvalidRequestError.at("/query/cursor", "is not a cursor that was handed out")
    asked = PageQuery(LOOKED_AT, below, given)
    listing = decode_listing(asked, decode_owner(asked, request.caller))
    if listing.status not in (None, *FAILURES):
        raise InvalidRequestError.at("/query/status", f"must be one of {', '.join(FAILURES)}")
    return page(*group_failures(listing, below, deps))


def get_stats(request: Request, store: StatStore) -> Response:
    """`GET /stats`; calls: those of `StatStore.read`."""
    asked = PageQuery(1, None, request.parameters("from", "to", "step", "owner"))
    whose = decode_owner(asked, request.caller) or EVERYBODY
    name = asked.filters.get("step", "minute")
    if name not in STEPS:
        raise InvalidRequestError.at("/query/step", f"must be one of {', '.join(STEPS)}")
    step = STEPS[name]
    now = clock.utc_now()
    end = min(asked.moment("to") or now, now)
    if end < FIRST:
        raise InvalidRequestError.at("/query/to", "must be 1970 or later")
    start = asked.moment("from") or end - step.usual
    if start > end:
        raise InvalidRequestError.at("/query/from", "must not be after to, or now")
    if end - start > step.longest:
        raise InvalidRequestError.at("/query/from", f"must be at most {step.words} before to")
    starts = step.starts(start, end)
    minutes = store.read(whose, starts[0], starts[-1] + step.length)
    return answer({"items": totals(minutes, starts, step.length), "cursor": None})


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


def decode_owner(asked: PageQuery, caller: Caller) -> str | None:
    """Whose events are asked for; None for those of every owner."""
    owner = asked.filters.get("owner")
    if owner is None:
        return caller.sees_only
    if not caller.is_admin or not is_owner(owner):
        fault = "is not an owner's name" if caller.is_admin else "is for admins"
        raise InvalidRequestError.at("/query/owner", fault)
    return owner


def decode_identity(asked: PageQuery) -> Identity:
    """The identity by which one event is asked for; raises `InvalidRequestError` for a part of one,
    and for filters beside it."""
    key, source, event_id = (asked.filters.get(given) for given in _FOUND_BY)
    by = _FOUND_BY[:1] if key is not None else _FOUND_BY[1:]
    others = [given for given in asked.filters if given not in (*by, "owner")]
    faults = [FieldError(f"/query/{given}", f"does not go with {by[0]}") for given in others]
    if asked.below is not None:
        faults.append(FieldError("/query/cursor", f"does not go with {by[0]}"))
    for given in by:
        value = asked.filters.get(given)
        if value is None:
            fault: str | None = "is required with the other of source and id"
        else:
            fault = key_fault(value) if key is not None else name_fault(value, MAX_NAME_BYTES)
        if fault:
            faults.append(FieldError(f"/query/{given}", fault))
    refuse("the query cannot be understood", faults)
    if key is not None:
        return Identity("idempotency", key)
    return Identity("cloudevents", f"{source}\0{event_id}")


def decode_listing(asked: PageQuery, owner: str | None) -> Listing:
    """What `GET /events` lists; `owner` None: the events of every owner."""
    status, kind = asked.filters.get("status"), asked.filters.get("eventType")
    if status is not None and status not in set(Status):
        raise InvalidRequestError.at("/query/status", f"must be one of {', '.join(Status)}")
    fault = None if kind is None else name_fault(kind, MAX_TYPE_BYTES)
    if fault:
        raise InvalidRequestError.at("/query/eventType", fault)
    replay_of = asked.filters.get("replayOf")
    if replay_of is not None and not is_event_id(replay_of):
        raise InvalidRequestError.at("/query/replayOf", "is not an event's id")
    start, end = asked.moment("from"), asked.moment("to")
    return Listing(
        owner=owner,
        event_type=kind,
        status=None if status is None else Status(status),
        start=OLDEST if start is None else clock.to_text(start),
        end=NEWEST if end is None else clock.to_text(end),
        limit=asked.limit,
        replay_of=replay_of,
    )


def _page(records: Sequence[Record], resume_below: str | None, newest: str | None) -> Response:
    cursor = None if resume_below is None else encode_cursor(resume_below)
    items = [record.to_dict() for record in records]
    return answer({"items": items, "cursor": cursor, "newest": newest})


def _ingest_batch(request: Request, form: Form, identity: str, deps: IngestDeps) -> Response:
    if request.header("idempotency-key") is not None:
        # To ignore it would let a sender believe that it is safe to repeat the request.
        detail = f"is for one event; in a batch each has its own {identity}"
        raise InvalidRequestError.at("/header/Idempotency-Key", detail)
    batch = Batch(request.body, form, request.caller.owner, request.request_id)
    return answer({"results": to_builtins(ingest_batch(batch, deps))}, 202)
