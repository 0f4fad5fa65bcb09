"""Eventline's functions and routes: decode, call one service, answer. The logic is in chalicelib.

The settings that the decorators need are the stage's variables in `.chalice/config.json`. What only
some functions need is imported where it is used: every cold start of the others would pay for it.
"""

from typing import Any

from chalice.app import AuthRequest, AuthResponse, Rate, Response, SQSEvent

from chalicelib import __version__, decoding, wiring
from chalicelib.domain import clock
from chalicelib.domain.deliveries import Delivery
from chalicelib.errors import UnauthenticatedError
from chalicelib.http import Api, Call, answer, no_content, not_modified, page, stored
from chalicelib.invocation import Invocation, seconds_left
from chalicelib.observability import configure
from chalicelib.services import ingest_events, manage_tokens, read_events
from chalicelib.services.process_events import process_batch
from chalicelib.services.reconcile import reconcile as run_reconcile

settings = wiring.settings()
configure(settings.log_level)
# The name is the API's in API Gateway, whose metrics know it by nothing else.
app = Api(f"eventline-{settings.stage}", settings.direct_owner)

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
    scopes = " ".join(sorted(caller.scopes))
    context = {"owner": caller.owner, "scopes": scopes, "tokenId": caller.token_id}
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
    return page([record.to_dict() for record in records], resume)


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
    shown = {**token.to_dict(), "token": text}
    return answer(shown, 201, {"Location": f"/tokens/{token.token_id}"})


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


@app.route("/items", methods=["POST"], authorizer=authorize, content_types=[])
@app.requires("items:write")
def post_item(call: Call) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_items

    created = manage_items.create_item(decoding_items.decode_new_item(call), wiring.managing())
    item = created.item
    headers = {"Location": f"/items/{item.item_id}", "ETag": item.etag}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer(item.to_dict(), 201, headers)


@app.route("/items", methods=["GET"], authorizer=authorize)
@app.requires("items:read")
def list_items(call: Call) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_items

    owner, limit, below = decoding_items.decode_owned_page(call)
    items, resume = manage_items.list_items(owner, limit, below, wiring.managing())
    return page([item.to_dict() for item in items], resume)


@app.route("/items/{item_id}", methods=["GET"], authorizer=authorize)
@app.requires("items:read")
def get_item(call: Call, item_id: str) -> Response:
    from chalicelib.domain.items import is_known
    from chalicelib.services import manage_items

    item = manage_items.read_item(item_id, call.caller, wiring.managing())
    known = call.header("if-none-match")
    if known and is_known(known, item):
        return not_modified(item.etag)
    return answer(item.to_dict(), headers={"ETag": item.etag})


@app.route("/items/{item_id}", methods=["PUT"], authorizer=authorize, content_types=[])
@app.requires("items:write")
def put_item(call: Call, item_id: str) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_items

    content, revisions = decoding_items.decode_item_change(call)
    using = wiring.managing()
    item = manage_items.replace_item(item_id, content, revisions, call.caller, using)
    return answer(item.to_dict(), headers={"ETag": item.etag})


@app.route("/items/{item_id}", methods=["DELETE"], authorizer=authorize)
@app.requires("items:write")
def delete_item(call: Call, item_id: str) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_items

    revisions = decoding_items.decode_if_match(call)
    manage_items.delete_item(item_id, revisions, call.caller, wiring.managing())
    return no_content()


@app.route("/subscriptions", methods=["POST"], authorizer=authorize, content_types=[])
@app.requires("items:write")
def post_subscription(call: Call) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_subscriptions

    order = decoding_items.decode_subscription_order(call)
    subscription = manage_subscriptions.subscribe(order, wiring.subscribing())
    headers = {"Location": f"/subscriptions/{subscription.subscription_id}"}
    return answer(subscription.to_dict(), 201, headers)


@app.route("/subscriptions", methods=["GET"], authorizer=authorize)
@app.requires("items:write")
def list_subscriptions(call: Call) -> Response:
    from chalicelib import decoding_items
    from chalicelib.services import manage_subscriptions

    owner, limit, below = decoding_items.decode_owned_page(call)
    using = wiring.subscribing()
    found, resume = manage_subscriptions.list_subscriptions(owner, limit, below, using)
    return page([subscription.to_dict() for subscription in found], resume)


@app.route("/subscriptions/{subscription_id}", methods=["DELETE"], authorizer=authorize)
@app.requires("items:write")
def delete_subscription(call: Call, subscription_id: str) -> Response:
    from chalicelib.services import manage_subscriptions

    manage_subscriptions.unsubscribe(subscription_id, call.caller, wiring.subscribing())
    return no_content()


@app.route("/uploads", methods=["POST"], authorizer=authorize, content_types=[])
@app.requires("uploads:write")
def post_upload(call: Call) -> Response:
    from chalicelib import decoding_uploads
    from chalicelib.services import manage_uploads

    order = decoding_uploads.decode_upload_order(call, settings.upload_max_bytes)
    offer = manage_uploads.offer_upload(order, call.caller.owner, wiring.uploading())
    return answer(offer.to_dict(), 201)


@app.route("/uploads", methods=["GET"], authorizer=authorize)
@app.requires("uploads:read")
def list_uploads(call: Call) -> Response:
    from chalicelib import decoding_uploads
    from chalicelib.services import manage_uploads

    limit, below = decoding_uploads.decode_upload_page(call)
    records, resume = manage_uploads.list_uploads(call.caller, limit, below, wiring.uploading())
    return page([record.to_dict() for record in records], resume)


@app.route("/alerts", methods=["GET"], authorizer=authorize)
@app.requires("events:read")
def list_alerts(call: Call) -> Response:
    from chalicelib import decoding_alerts
    from chalicelib.services import read_alerts

    limit, below = decoding_alerts.decode_alert_page(call)
    groups, resume = read_alerts.list_alerts(limit, below, wiring.reading_alerts())
    return page([group.to_dict() for group in groups], resume)


@app.on_s3_event(bucket=settings.uploads_bucket, events=["s3:ObjectCreated:*"])
def record_upload(run: Invocation) -> dict[str, int]:
    from chalicelib.services.record_uploads import record_uploads

    return record_uploads(run.to_dict(), wiring.recording()).to_dict()


record_upload.event_class = Invocation


@app.on_dynamodb_record(
    stream_arn=settings.items_stream_arn, batch_size=100, starting_position="TRIM_HORIZON"
)
def notify_owners(run: Invocation) -> None:
    from chalicelib.services.notify_owners import notify_owners as tell_owners

    tell_owners(run.to_dict().get("Records", []), wiring.notifying(seconds_left(run.context)))


notify_owners.event_class = Invocation


@app.on_sqs_message(queue_arn=settings.ci_queue_arn, batch_size=10)
def alert_ci_event(event: SQSEvent) -> None:
    from chalicelib.services import send_alerts

    deliveries = [Delivery.from_record(record.to_dict()) for record in event]
    send_alerts.process_batch(deliveries, wiring.sending(seconds_left(event.context)))


@app.on_sns_message(topic=settings.alert_topic_arn)
def relay_alarm(run: Invocation) -> None:
    from chalicelib.services.relay_alarms import relay_alarms

    relay_alarms(run.to_dict().get("Records", []), wiring.alert_queue())


relay_alarm.event_class = Invocation


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
