"""Eventline's functions and routes: decode, call one service, answer. The logic is in chalicelib.

The settings that the decorators need are the stage's variables in `.chalice/config.json`. What only
some functions need is imported where it is used: every cold start of the others would pay for it.
"""

import os
import uuid
from typing import TYPE_CHECKING, Any

if os.environ.get("AWS_CHALICE_CLI_MODE"):
    from local import chalice_commands  # noqa: TID251 - of the checkout, and not shipped

    chalice_commands.prepare()

from chalice.app import AuthRequest, AuthResponse, Rate, Response, SQSEvent

from chalicelib import __version__, decoding, wiring
from chalicelib.domain import clock
from chalicelib.domain.callers import Door
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.requests import MAX_BODY_BYTES
from chalicelib.errors import UnauthenticatedError
from chalicelib.http import Api, Call, accepted, answer, no_content, not_modified, page, stored
from chalicelib.invocation import Invocation, seconds_left
from chalicelib.lazy import LazyModule
from chalicelib.observability import configure, log_context
from chalicelib.services import ingest_events

if TYPE_CHECKING:
    from chalicelib import (
        decoding_alerts,
        decoding_batches,
        decoding_items,
        decoding_recovery,
        decoding_schemas,
        decoding_uploads,
        openapi,
        wiring_recovery,
        wiring_triggers,
    )
    from chalicelib.domain import items as item_domain
    from chalicelib.services import (
        dead_letters,
        ingest_batches,
        manage_items,
        manage_schemas,
        manage_subscriptions,
        manage_tokens,
        manage_uploads,
        read_alerts,
        read_events,
        receive_webhooks,
        record_uploads,
        relay_alarms,
        replay_events,
        replay_many,
        restart_replays,
        send_alerts,
    )
    from chalicelib.services import notify_owners as owner_notifications
    from chalicelib.services import process_events as event_processing
    from chalicelib.services import reconcile as reconciliation
else:
    dead_letters = LazyModule("chalicelib.services.dead_letters")
    decoding_alerts = LazyModule("chalicelib.decoding_alerts")
    decoding_batches = LazyModule("chalicelib.decoding_batches")
    decoding_items = LazyModule("chalicelib.decoding_items")
    decoding_recovery = LazyModule("chalicelib.decoding_recovery")
    decoding_schemas = LazyModule("chalicelib.decoding_schemas")
    decoding_uploads = LazyModule("chalicelib.decoding_uploads")
    ingest_batches = LazyModule("chalicelib.services.ingest_batches")
    item_domain = LazyModule("chalicelib.domain.items")
    event_processing = LazyModule("chalicelib.services.process_events")
    reconciliation = LazyModule("chalicelib.services.reconcile")
    wiring_triggers = LazyModule("chalicelib.wiring_triggers")
    manage_items = LazyModule("chalicelib.services.manage_items")
    manage_schemas = LazyModule("chalicelib.services.manage_schemas")
    manage_subscriptions = LazyModule("chalicelib.services.manage_subscriptions")
    manage_tokens = LazyModule("chalicelib.services.manage_tokens")
    manage_uploads = LazyModule("chalicelib.services.manage_uploads")
    openapi = LazyModule("chalicelib.openapi")
    owner_notifications = LazyModule("chalicelib.services.notify_owners")
    read_alerts = LazyModule("chalicelib.services.read_alerts")
    read_events = LazyModule("chalicelib.services.read_events")
    receive_webhooks = LazyModule("chalicelib.services.receive_webhooks")
    record_uploads = LazyModule("chalicelib.services.record_uploads")
    relay_alarms = LazyModule("chalicelib.services.relay_alarms")
    replay_events = LazyModule("chalicelib.services.replay_events")
    replay_many = LazyModule("chalicelib.services.replay_many")
    restart_replays = LazyModule("chalicelib.services.restart_replays")
    send_alerts = LazyModule("chalicelib.services.send_alerts")
    wiring_recovery = LazyModule("chalicelib.wiring_recovery")

settings = wiring.settings()
configure(settings.log_level, settings.stage)
# The name is the API's in API Gateway, whose metrics know it by nothing else.
door = Door(settings.auth_mode, settings.direct_owner, settings.iam_admins)
app = Api(f"eventline-{settings.stage}", door, settings.cors_origin, settings.stage)

AUTHORIZER_CACHE_SECONDS = 10
"""How long API Gateway may go on honouring a token that was revoked."""


@app.authorizer(ttl_seconds=AUTHORIZER_CACHE_SECONDS)
def authorize(request: AuthRequest) -> AuthResponse:
    """Bearer token -> owner and scopes. What a scope allows is decided at each route."""
    run_id = str(uuid.uuid4())  # Chalice does not pass Lambda's on.
    try:
        now = clock.to_text(clock.utc_now())
        with log_context(requestId=run_id):
            caller = manage_tokens.authenticate(wiring.tokens(), request.token, now)
    except UnauthenticatedError:
        # The one text that API Gateway turns into a 401 (API Gateway Developer Guide, "Use API
        # Gateway Lambda authorizers").
        raise Exception("Unauthorized") from None
    scopes = " ".join(sorted(caller.scopes))
    context = {"owner": caller.owner, "scopes": scopes, "tokenId": caller.token_id}
    context["runId"] = run_id
    return AuthResponse(routes=["*"], principal_id=caller.owner, context=context)


app.guarded_by(authorize, settings.cognito_user_pool_arn)


@app.serves("GET", "/health", None)
def get_health(_call: Call) -> Response:
    return answer({"status": "ok", "version": __version__, "stage": settings.stage})


@app.serves("GET", "/openapi.json", None)
def get_openapi(_call: Call) -> Response:
    return answer(openapi.document())


@app.serves("POST", "/events", "events:write", MAX_BODY_BYTES)
def post_event(call: Call) -> Response:
    if decoding.is_cloud_event_batch(call):
        return _take_batch(decoding_batches.decode_cloud_events(call))
    return accepted(ingest_events.ingest(decoding.decode_submission(call), wiring.ingest()))


@app.serves("POST", "/events/batch", "events:write", MAX_BODY_BYTES)
def post_batch(call: Call) -> Response:
    return _take_batch(decoding_batches.decode_batch(call))


@app.serves("GET", "/events", "events:read")
def list_events(call: Call) -> Response:
    listing, resume_below = decoding.decode_listing(call)
    records, resume = read_events.list_events(listing, resume_below, wiring.reading())
    return page([record.to_dict() for record in records], resume)


@app.serves("GET", "/events/{event_id}", "events:read")
def get_event(call: Call, event_id: str) -> Response:
    if decoding.wants_cloud_event(call):
        envelope = read_events.read_cloud_event(event_id, call.caller, wiring.reading())
        return stored(envelope, decoding.CLOUD_EVENT)
    return answer(read_events.read_event(event_id, call.caller, wiring.reading()).to_dict())


@app.serves("GET", "/events/{event_id}/payload", "events:read")
def get_payload(call: Call, event_id: str) -> Response:
    return stored(*read_events.read_payload(event_id, call.caller, wiring.reading()))


@app.serves("GET", "/events/{event_id}/result", "events:read")
def get_result(call: Call, event_id: str) -> Response:
    document = read_events.read_result(event_id, call.caller, wiring.reading())
    return stored(document, "application/json")


@app.serves("POST", "/events/{event_id}/replay", "events:admin")
def post_replay(call: Call, event_id: str) -> Response:
    using = wiring.replaying()
    return accepted(replay_events.replay(event_id, call.caller, call.request_id, using))


@app.serves("POST", "/replays", "events:admin")
def post_replays(call: Call) -> Response:
    now = clock.utc_now()
    order, is_dry = decoding_recovery.decode_replay(call, now)
    using = wiring_recovery.replaying_many()
    if is_dry:
        return answer(replay_many.count(order, using).to_dict(order))
    replay, was_known = replay_many.start(order, call.caller, using)
    headers = {"Location": f"/replays/{replay.replay_id}"}
    if was_known:
        headers["Idempotent-Replayed"] = "true"
    return answer(replay.to_dict(now), 202, headers)


@app.serves("GET", "/replays/{replay_id}", "events:admin")
def get_replays(call: Call, replay_id: str) -> Response:
    replay = replay_many.read(replay_id, call.caller, wiring_recovery.replaying_many())
    return answer(replay.to_dict(clock.utc_now()))


@app.serves("DELETE", "/replays/{replay_id}", "events:admin")
def delete_replays(call: Call, replay_id: str) -> Response:
    replay = replay_many.abort(replay_id, call.caller, wiring_recovery.replaying_many())
    return answer(replay.to_dict(clock.utc_now()))


@app.serves("GET", "/dead-letters", "events:admin")
def list_dead_letters(call: Call) -> Response:
    choice, below = decoding_recovery.decode_dead_letters(call)
    using = wiring_recovery.recovering()
    return page(*dead_letters.list_dead_letters(choice, below, call.caller, using))


@app.serves("POST", "/dead-letters/redrive", "events:admin")
def post_redrive(call: Call) -> Response:
    order = decoding_recovery.decode_redrive(call)
    done = dead_letters.redrive(order, call.caller, wiring_recovery.recovering())
    return answer(done.to_dict())


@app.serves("POST", "/webhooks/{source}", None, MAX_BODY_BYTES)
def post_webhook(call: Call, source: str) -> Response:
    using = wiring.receiving()
    receipt = receive_webhooks.receive(source, call.headers, call.body, call.request_id, using)
    return accepted(receipt)


@app.serves("GET", "/schemas", "events:read")
def list_schemas(call: Call) -> Response:
    limit, after = decoding_schemas.decode_schema_page(call)
    types, resume = manage_schemas.list_schemas(limit, after, wiring.managing_schemas())
    return page([listed.to_dict() for listed in types], resume)


@app.serves("GET", "/schemas/{event_type}", "events:read")
def get_schema(call: Call, event_type: str) -> Response:
    named = decoding_schemas.decode_event_type(event_type)
    version = decoding_schemas.decode_schema_version(call)
    return answer(manage_schemas.get_schema(named, version, wiring.managing_schemas()).to_dict())


@app.serves("PUT", "/schemas/{event_type}", "schemas:write")
def put_schema(call: Call, event_type: str) -> Response:
    named, body = (
        decoding_schemas.decode_event_type(event_type),
        decoding_schemas.decode_schema(call),
    )
    now, using = clock.to_text(clock.utc_now()), wiring.managing_schemas()
    schema, is_new = manage_schemas.put_schema(named, body, call.caller, now, using)
    return answer(schema.to_dict(), 201 if is_new else 200)


@app.serves("DELETE", "/schemas/{event_type}", "schemas:write")
def delete_schema(_call: Call, event_type: str) -> Response:
    named = decoding_schemas.decode_event_type(event_type)
    manage_schemas.delete_schema(named, wiring.managing_schemas())
    return no_content()


@app.serves("POST", "/tokens", "admin")
def post_token(call: Call) -> Response:
    now = clock.utc_now()
    order = decoding.decode_token_order(call, now)
    token, text = manage_tokens.issue_token(
        wiring.tokens(), order.owner, order.scopes, clock.to_text(now), expires_at=order.expires_at
    )
    shown = {**token.to_dict(), "token": text}
    return answer(shown, 201, {"Location": f"/tokens/{token.token_id}"})


@app.serves("GET", "/tokens", "admin")
def list_tokens(call: Call) -> Response:
    tokens, cursor = manage_tokens.list_tokens(wiring.tokens(), *decoding.decode_token_page(call))
    return answer({"items": [token.to_dict() for token in tokens], "cursor": cursor})


@app.serves("DELETE", "/tokens/{token_id}", "admin")
def delete_token(_call: Call, token_id: str) -> Response:
    manage_tokens.revoke_token(wiring.tokens(), token_id)
    return no_content()


@app.serves("POST", "/items", "items:write", MAX_BODY_BYTES)
def post_item(call: Call) -> Response:
    created = manage_items.create_item(
        decoding_items.decode_new_item(call), wiring_triggers.managing()
    )
    item = created.item
    headers = {"Location": f"/items/{item.item_id}", "ETag": item.etag}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer(item.to_dict(), 201, headers)


@app.serves("GET", "/items", "items:read")
def list_items(call: Call) -> Response:
    owner, limit, below = decoding_items.decode_owned_page(call)
    items, resume = manage_items.list_items(owner, limit, below, wiring_triggers.managing())
    return page([item.to_dict() for item in items], resume)


@app.serves("GET", "/items/{item_id}", "items:read")
def get_item(call: Call, item_id: str) -> Response:
    item = manage_items.read_item(item_id, call.caller, wiring_triggers.managing())
    known = call.header("if-none-match")
    if known and item_domain.is_known(known, item):
        return not_modified(item.etag)
    return answer(item.to_dict(), headers={"ETag": item.etag})


@app.serves("PUT", "/items/{item_id}", "items:write", MAX_BODY_BYTES)
def put_item(call: Call, item_id: str) -> Response:
    content, revisions = decoding_items.decode_item_change(call)
    using = wiring_triggers.managing()
    item = manage_items.replace_item(item_id, content, revisions, call.caller, using)
    return answer(item.to_dict(), headers={"ETag": item.etag})


@app.serves("DELETE", "/items/{item_id}", "items:write")
def delete_item(call: Call, item_id: str) -> Response:
    revisions = decoding_items.decode_if_match(call)
    manage_items.delete_item(item_id, revisions, call.caller, wiring_triggers.managing())
    return no_content()


@app.serves("POST", "/subscriptions", "items:write")
def post_subscription(call: Call) -> Response:
    order = decoding_items.decode_subscription_order(call)
    subscription = manage_subscriptions.subscribe(order, wiring_triggers.subscribing())
    headers = {"Location": f"/subscriptions/{subscription.subscription_id}"}
    return answer(subscription.to_dict(), 201, headers)


@app.serves("GET", "/subscriptions", "items:write")
def list_subscriptions(call: Call) -> Response:
    owner, limit, below = decoding_items.decode_owned_page(call)
    using = wiring_triggers.subscribing()
    found, resume = manage_subscriptions.list_subscriptions(owner, limit, below, using)
    return page([subscription.to_dict() for subscription in found], resume)


@app.serves("DELETE", "/subscriptions/{subscription_id}", "items:write")
def delete_subscription(call: Call, subscription_id: str) -> Response:
    manage_subscriptions.unsubscribe(subscription_id, call.caller, wiring_triggers.subscribing())
    return no_content()


@app.serves("POST", "/uploads", "uploads:write")
def post_upload(call: Call) -> Response:
    order = decoding_uploads.decode_upload_order(call, settings.upload_max_bytes)
    offer = manage_uploads.offer_upload(order, call.caller.owner, wiring_triggers.uploading())
    return answer(offer.to_dict(), 201)


@app.serves("GET", "/uploads", "uploads:read")
def list_uploads(call: Call) -> Response:
    limit, below = decoding_uploads.decode_upload_page(call)
    records, resume = manage_uploads.list_uploads(
        call.caller, limit, below, wiring_triggers.uploading()
    )
    return page([record.to_dict() for record in records], resume)


@app.serves("GET", "/alerts", "events:read")
def list_alerts(call: Call) -> Response:
    limit, below = decoding_alerts.decode_alert_page(call)
    using = wiring_triggers.reading_alerts()
    groups, resume = read_alerts.list_alerts(limit, below, call.caller.sees_only, using)
    return page([group.to_dict() for group in groups], resume)


def _take_batch(batch: "ingest_batches.Batch") -> Response:
    verdicts = ingest_batches.ingest_batch(batch, wiring.batching())
    return answer({"results": [verdict.to_dict() for verdict in verdicts]}, 202)


@app.on_s3_event(bucket=settings.uploads_bucket, events=["s3:ObjectCreated:*"])
def record_upload(run: Invocation) -> dict[str, int]:
    return record_uploads.record_uploads(run.to_dict(), wiring_triggers.recording()).to_dict()


record_upload.event_class = Invocation


@app.on_dynamodb_record(
    stream_arn=settings.items_stream_arn, batch_size=100, starting_position="TRIM_HORIZON"
)
def notify_owners(run: Invocation) -> None:
    records = run.to_dict().get("Records", [])
    owner_notifications.notify_owners(records, wiring_triggers.notifying(seconds_left(run.context)))


notify_owners.event_class = Invocation


@app.on_sqs_message(queue_arn=settings.ci_queue_arn, batch_size=10)
def alert_ci_event(event: SQSEvent) -> None:
    deliveries = [Delivery.from_record(record.to_dict()) for record in event]
    send_alerts.process_batch(deliveries, wiring_triggers.sending(seconds_left(event.context)))


@app.on_sns_message(topic=settings.alert_topic_arn)
def relay_alarm(run: Invocation) -> None:
    relay_alarms.relay_alarms(run.to_dict().get("Records", []), wiring.alert_queue())


relay_alarm.event_class = Invocation


@app.on_sqs_message(
    queue_arn=settings.events_queue_arn,
    batch_size=10,
    maximum_batching_window_in_seconds=settings.batching_window,
)
def process_events(event: SQSEvent) -> None:
    deliveries = [Delivery.from_record(record.to_dict()) for record in event]
    event_processing.process_batch(
        deliveries, wiring_recovery.processing(seconds_left(event.context))
    )


@app.schedule(Rate(settings.reconcile_minutes, unit=Rate.MINUTES))
def reconcile(run: Invocation) -> dict[str, Any]:
    stuck_after = run.seconds("stuckAfterSeconds")
    restart_replays.restart_replays(wiring_recovery.restarting(stuck_after))
    using = wiring.reconciling(run.run_id, seconds_left(run.context), stuck_after)
    return reconciliation.reconcile(using).to_dict()


reconcile.event_class = Invocation
