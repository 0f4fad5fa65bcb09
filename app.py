"""Eventline's functions and routes: decode, call one service, answer. The logic is in chalicelib.

Chalice reads the decorators when it deploys; the settings they need are the stage's environment
variables in `.chalice/config.json`.
"""

from typing import Any

from chalice.app import AuthRequest, AuthResponse, Rate, Response, SQSEvent

from chalicelib import __version__, decoding, wiring
from chalicelib.domain import clock
from chalicelib.domain.listing import encode_cursor
from chalicelib.errors import UnauthenticatedError
from chalicelib.http import Api, Call, answer, no_content, stored
from chalicelib.invocation import Invocation, seconds_left
from chalicelib.observability import configure
from chalicelib.services import ingest_events, manage_tokens, read_events
from chalicelib.services.process_events import Delivery, process_batch
from chalicelib.services.reconcile import reconcile as run_reconcile

settings = wiring.settings()
configure(settings.log_level)
app = Api("eventline", settings.direct_owner)

AUTHORIZER_CACHE_SECONDS = 10
"""How long API Gateway may go on honouring a token that was revoked."""


@app.authorizer(ttl_seconds=AUTHORIZER_CACHE_SECONDS)
def authorize(request: AuthRequest) -> AuthResponse:
    """Bearer token -> owner and scopes. What a scope allows is decided at each route."""
    try:
        now = clock.to_text(clock.utc_now())
        caller = manage_tokens.authenticate(wiring.tokens(), request.token, now)
    except UnauthenticatedError:
        # The one text that API Gateway turns into a 401 (API Gateway Developer Guide, "Use API
        # Gateway Lambda authorizers").
        raise Exception("Unauthorized") from None
    context = {
        "owner": caller.owner,
        "scopes": " ".join(sorted(caller.scopes)),
        "tokenId": caller.token_id,
    }
    return AuthResponse(routes=["*"], principal_id=caller.owner, context=context)


@app.route("/health")
@app.requires(None)
def get_health() -> Response:
    return answer({"status": "ok", "version": __version__, "stage": settings.stage})


@app.route("/events", methods=["POST"], authorizer=authorize, content_types=[])
@app.requires("events:write")
def post_event(call: Call) -> Response:
    receipt = ingest_events.ingest(decoding.decode_submission(call), wiring.ingest())
    headers = {"Location": f"/events/{receipt.event_id}"}
    if receipt.replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer({"status": "accepted", "eventId": receipt.event_id}, 202, headers)


@app.route("/events", methods=["GET"], authorizer=authorize)
@app.requires("events:read")
def list_events(call: Call) -> Response:
    listing, resume_below = decoding.decode_listing(call)
    records, resume = read_events.list_events(listing, resume_below, wiring.reading())
    cursor = None if resume is None else encode_cursor(resume)
    return answer({"items": [record.to_dict() for record in records], "cursor": cursor})


@app.route("/events/{event_id}", methods=["GET"], authorizer=authorize)
@app.requires("events:read")
def get_event(call: Call, event_id: str) -> Response:
    return answer(read_events.read_event(event_id, call.caller, wiring.reading()).to_dict())


@app.route("/events/{event_id}/payload", methods=["GET"], authorizer=authorize)
@app.requires("events:read")
def get_payload(call: Call, event_id: str) -> Response:
    return stored(*read_events.read_payload(event_id, call.caller, wiring.reading()))


@app.route("/events/{event_id}/result", methods=["GET"], authorizer=authorize)
@app.requires("events:read")
def get_result(call: Call, event_id: str) -> Response:
    document = read_events.read_result(event_id, call.caller, wiring.reading())
    return stored(document, "application/json")


@app.route("/tokens", methods=["POST"], authorizer=authorize, content_types=[])
@app.requires("admin")
def post_token(call: Call) -> Response:
    now = clock.utc_now()
    order = decoding.decode_token_order(call, now)
    token, text = manage_tokens.issue_token(
        wiring.tokens(), order.owner, order.scopes, clock.to_text(now), expires_at=order.expires_at
    )
    headers = {"Location": f"/tokens/{token.token_id}"}
    return answer({**token.to_dict(), "token": text}, 201, headers)


@app.route("/tokens", methods=["GET"], authorizer=authorize)
@app.requires("admin")
def list_tokens(call: Call) -> Response:
    tokens, cursor = manage_tokens.list_tokens(wiring.tokens(), *decoding.decode_token_page(call))
    return answer({"items": [token.to_dict() for token in tokens], "cursor": cursor})


@app.route("/tokens/{token_id}", methods=["DELETE"], authorizer=authorize)
@app.requires("admin")
def delete_token(_call: Call, token_id: str) -> Response:
    manage_tokens.revoke_token(wiring.tokens(), token_id)
    return no_content()


@app.on_sqs_message(
    queue_arn=settings.events_queue_arn,
    batch_size=10,
    maximum_batching_window_in_seconds=settings.batching_window,
)
def process_events(event: SQSEvent) -> None:
    deliveries = [Delivery.from_record(record.to_dict()) for record in event]
    process_batch(deliveries, wiring.processing(seconds_left(event.context)))


@app.schedule(Rate(settings.reconcile_minutes, unit=Rate.MINUTES))
def reconcile(run: Invocation) -> dict[str, Any]:
    using = wiring.reconciling(
        run.run_id, seconds_left(run.context), run.seconds("stuckAfterSeconds")
    )
    return run_reconcile(using).to_dict()


reconcile.event_class = Invocation
