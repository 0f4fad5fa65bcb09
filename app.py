"""Eventline's routes and functions, each in Chalice's own terms: read, call one function, answer.

The logic is in `chalicelib`, a folder a capability. `scope` is what a caller's token must allow,
`spec` the operation in the OpenAPI document. The settings that decorators need are the stage's
variables in `.chalice/config.json`.
"""

import os

if os.environ.get("AWS_CHALICE_CLI_MODE"):
    from local import chalice_commands  # noqa: TID251 - of the checkout, and not shipped

    chalice_commands.prepare()

from chalice.app import AuthRequest, AuthResponse, Rate

from chalicelib import wiring
from chalicelib.alerts import api as alerts
from chalicelib.alerts.relay import relay_alarms
from chalicelib.alerts.send import send_alerts
from chalicelib.aws.sqs import read_deliveries
from chalicelib.console import api as console
from chalicelib.core.config import settings as load_settings
from chalicelib.core.log import configure
from chalicelib.destinations import api as destinations
from chalicelib.destinations.deliver import deliver_batch
from chalicelib.destinations.due import take_up_due
from chalicelib.events import api as events
from chalicelib.events.worker import process_batch
from chalicelib.items import api as items
from chalicelib.items.notify import notify_owners as notify_of_changes
from chalicelib.recovery import api as recovery
from chalicelib.recovery.reconcile import reconcile as reconcile_stores
from chalicelib.replays import api as replays
from chalicelib.replays.steps import restart_replays
from chalicelib.schemas import api as schemas
from chalicelib.tokens import api as tokens
from chalicelib.uploads import api as uploads
from chalicelib.uploads.record import record_uploads
from chalicelib.web import platform
from chalicelib.web.api import Api
from chalicelib.web.authorizer import CACHE_SECONDS, authorize_token
from chalicelib.web.callers import ANY, AuthConfig
from chalicelib.web.limits import MAX_BODY_BYTES as MAX_BODY
from chalicelib.web.middleware import keep_deadline, observe_runs
from chalicelib.web.request import LambdaEvent, Request
from chalicelib.web.responses import Response
from chalicelib.webhooks import api as webhooks

settings = load_settings()
configure(settings.log_level, settings.stage)
# The API's name in API Gateway and its metrics.
app = Api(
    f"eventline-{settings.stage}", AuthConfig.of(settings), settings.cors_origin, settings.stage
)
app.register_middleware(observe_runs(settings.stage))
app.register_middleware(keep_deadline)
app.register_middleware(wiring.count_run)


@app.authorizer(ttl_seconds=CACHE_SECONDS)
def authorize(request: AuthRequest) -> AuthResponse:
    return authorize_token(request, wiring.authenticate)


app.use_authorizer(authorize, settings.cognito_user_pool_arn)


@app.route("/health", methods=["GET", "HEAD"], scope=None, spec=platform.GET_HEALTH)
def get_health(_request: Request) -> Response:
    return platform.get_health(settings.stage)


@app.route("/openapi.json", methods=["GET", "HEAD"], scope=None, spec=platform.GET_OPENAPI)
def get_openapi(_request: Request) -> Response:
    return platform.get_openapi(app.routes)


@app.route("/settings", methods=["GET"], scope="admin", spec=platform.LIST_SETTINGS)
def list_settings(_request: Request) -> Response:
    return platform.list_settings()


@app.route("/console", methods=["GET"], scope=None, spec=console.GET_PAGE)
def get_console(request: Request) -> Response:
    return console.get_page(request, settings)


@app.route("/console/{file}", methods=["GET"], scope=None, spec=console.GET_FILE)
def get_console_file(request: Request, file: str) -> Response:
    return console.get_file(request, file)


@app.route(
    "/events", methods=["POST"], scope="events:write", max_body=MAX_BODY, spec=events.POST_EVENT
)
def post_event(request: Request) -> Response:
    return events.post_event(request, wiring.ingest())


@app.route(
    "/events/batch",
    methods=["POST"],
    scope="events:write",
    max_body=MAX_BODY,
    spec=events.POST_BATCH,
)
def post_batch(request: Request) -> Response:
    return events.post_batch(request, wiring.ingest())


@app.route("/events", methods=["GET"], scope="events:read", spec=events.LIST_EVENTS)
def list_events(request: Request) -> Response:
    return events.list_events(request, wiring.reading())


@app.route("/stats", methods=["GET"], scope="events:read", spec=events.GET_STATS)
def get_stats(request: Request) -> Response:
    return events.get_stats(request, wiring.stats())


@app.route("/failures", methods=["GET"], scope="events:read", spec=events.LIST_FAILURES)
def list_failures(request: Request) -> Response:
    return events.list_failures(request, wiring.reading())


@app.route("/events/{event_id}", methods=["GET"], scope="events:read", spec=events.GET_EVENT)
def get_event(request: Request, event_id: str) -> Response:
    return events.get_event(request, event_id, wiring.reading())


@app.route(
    "/events/{event_id}/payload", methods=["GET"], scope="events:read", spec=events.GET_PAYLOAD
)
def get_payload(request: Request, event_id: str) -> Response:
    return events.get_payload(request, event_id, wiring.reading())


@app.route(
    "/events/{event_id}/result", methods=["GET"], scope="events:read", spec=events.GET_RESULT
)
def get_result(request: Request, event_id: str) -> Response:
    return events.get_result(request, event_id, wiring.reading())


@app.route(
    "/events/{event_id}/replay", methods=["POST"], scope="events:admin", spec=replays.POST_REPLAY
)
def post_replay(request: Request, event_id: str) -> Response:
    return replays.post_replay(request, event_id, wiring.replay())


@app.route("/replays", methods=["POST"], scope="events:admin", spec=replays.POST_REPLAYS)
def post_replays(request: Request) -> Response:
    return replays.post_replays(request, wiring.bulk_replays())


@app.route("/replays", methods=["GET"], scope="events:admin", spec=replays.LIST_REPLAYS)
def list_replays(request: Request) -> Response:
    return replays.list_replays(request, wiring.bulk_replays())


@app.route("/replays/{replay_id}", methods=["GET"], scope="events:admin", spec=replays.GET_REPLAY)
def get_replay(request: Request, replay_id: str) -> Response:
    return replays.get_replay(request, replay_id, wiring.bulk_replays())


@app.route(
    "/replays/{replay_id}", methods=["DELETE"], scope="events:admin", spec=replays.ABORT_REPLAY
)
def abort_replay(request: Request, replay_id: str) -> Response:
    return replays.abort_replay(request, replay_id, wiring.bulk_replays())


@app.route("/queues", methods=["GET"], scope="events:admin", spec=recovery.LIST_QUEUES)
def list_queues(request: Request) -> Response:
    return recovery.list_queues(request, wiring.queues())


@app.route("/reconcile", methods=["GET"], scope="events:admin", spec=recovery.LIST_REPORTS)
def get_reconcile(request: Request) -> Response:
    return recovery.get_reconcile(request, wiring.reports())


@app.route("/dead-letters", methods=["GET"], scope="events:admin", spec=recovery.LIST_DEAD_LETTERS)
def list_dead_letters(request: Request) -> Response:
    return recovery.list_dead_letters(request, wiring.dead_letters())


@app.route(
    "/dead-letters/redrive", methods=["POST"], scope="events:admin", spec=recovery.POST_REDRIVE
)
def post_redrive(request: Request) -> Response:
    return recovery.post_redrive(request, wiring.dead_letters())


@app.route(
    "/webhooks/{source}",
    methods=["POST"],
    scope=None,
    max_body=MAX_BODY,
    spec=webhooks.POST_WEBHOOK,
)
def post_webhook(request: Request, source: str) -> Response:
    return webhooks.post_webhook(request, source, wiring.webhooks())


@app.route("/schemas", methods=["GET"], scope="events:read", spec=schemas.LIST_SCHEMAS)
def list_schemas(request: Request) -> Response:
    return schemas.list_schemas(request, wiring.schemas())


@app.route("/schemas/{event_type}", methods=["GET"], scope="events:read", spec=schemas.GET_SCHEMA)
def get_schema(request: Request, event_type: str) -> Response:
    return schemas.get_schema(request, event_type, wiring.schemas())


@app.route(
    "/schemas/{event_type}/versions",
    methods=["GET"],
    scope="events:read",
    spec=schemas.LIST_VERSIONS,
)
def list_versions(request: Request, event_type: str) -> Response:
    return schemas.list_versions(request, event_type, wiring.schemas())


@app.route("/schemas/{event_type}", methods=["PUT"], scope="schemas:write", spec=schemas.PUT_SCHEMA)
def put_schema(request: Request, event_type: str) -> Response:
    return schemas.put_schema(request, event_type, wiring.schemas())


@app.route(
    "/schemas/{event_type}", methods=["DELETE"], scope="schemas:write", spec=schemas.DELETE_SCHEMA
)
def delete_schema(request: Request, event_type: str) -> Response:
    return schemas.delete_schema(request, event_type, wiring.schemas())


@app.route("/tokens", methods=["POST"], scope="admin", spec=tokens.POST_TOKEN)
def post_token(request: Request) -> Response:
    return tokens.post_token(request, wiring.tokens())


@app.route("/tokens", methods=["GET"], scope="admin", spec=tokens.LIST_TOKENS)
def list_tokens(request: Request) -> Response:
    return tokens.list_tokens(request, wiring.tokens())


@app.route("/tokens/self", methods=["GET"], scope=ANY, spec=tokens.GET_SELF)
def get_self(request: Request) -> Response:
    return tokens.get_self(request, settings.auth_mode)


@app.route("/tokens/{token_id}", methods=["DELETE"], scope="admin", spec=tokens.DELETE_TOKEN)
def delete_token(request: Request, token_id: str) -> Response:
    return tokens.delete_token(request, token_id, wiring.tokens())


@app.route("/items", methods=["POST"], scope="items:write", max_body=MAX_BODY, spec=items.POST_ITEM)
def post_item(request: Request) -> Response:
    return items.post_item(request, wiring.items())


@app.route("/items", methods=["GET"], scope="items:read", spec=items.LIST_ITEMS)
def list_items(request: Request) -> Response:
    return items.list_items(request, wiring.items())


@app.route("/items/{item_id}", methods=["GET"], scope="items:read", spec=items.GET_ITEM)
def get_item(request: Request, item_id: str) -> Response:
    return items.get_item(request, item_id, wiring.items())


@app.route(
    "/items/{item_id}", methods=["PUT"], scope="items:write", max_body=MAX_BODY, spec=items.PUT_ITEM
)
def put_item(request: Request, item_id: str) -> Response:
    return items.put_item(request, item_id, wiring.items())


@app.route("/items/{item_id}", methods=["DELETE"], scope="items:write", spec=items.DELETE_ITEM)
def delete_item(request: Request, item_id: str) -> Response:
    return items.delete_item(request, item_id, wiring.items())


@app.route("/subscriptions", methods=["POST"], scope="items:write", spec=items.POST_SUBSCRIPTION)
def post_subscription(request: Request) -> Response:
    return items.post_subscription(request, wiring.subscriptions())


@app.route("/subscriptions", methods=["GET"], scope="items:write", spec=items.LIST_SUBSCRIPTIONS)
def list_subscriptions(request: Request) -> Response:
    return items.list_subscriptions(request, wiring.subscriptions())


@app.route(
    "/subscriptions/{subscription_id}",
    methods=["DELETE"],
    scope="items:write",
    spec=items.DELETE_SUBSCRIPTION,
)
def delete_subscription(request: Request, subscription_id: str) -> Response:
    return items.delete_subscription(request, subscription_id, wiring.subscriptions())


@app.route("/uploads", methods=["POST"], scope="uploads:write", spec=uploads.POST_UPLOAD)
def post_upload(request: Request) -> Response:
    return uploads.post_upload(request, wiring.uploads())


@app.route("/uploads", methods=["GET"], scope="uploads:read", spec=uploads.LIST_UPLOADS)
def list_uploads(request: Request) -> Response:
    return uploads.list_uploads(request, wiring.uploads())


@app.route("/alerts", methods=["GET"], scope="events:read", spec=alerts.LIST_ALERTS)
def list_alerts(request: Request) -> Response:
    return alerts.list_alerts(request, wiring.alerts())


@app.route(
    "/destinations",
    methods=["POST"],
    scope="destinations:write",
    spec=destinations.POST_DESTINATION,
)
def post_destination(request: Request) -> Response:
    return destinations.post_destination(request, wiring.destinations())


@app.route(
    "/destinations",
    methods=["GET"],
    scope="destinations:read",
    spec=destinations.LIST_DESTINATIONS,
)
def list_destinations(request: Request) -> Response:
    return destinations.list_destinations(request, wiring.destinations())


@app.route(
    "/destinations/{destination_id}",
    methods=["GET"],
    scope="destinations:read",
    spec=destinations.GET_DESTINATION,
)
def get_destination(request: Request, destination_id: str) -> Response:
    return destinations.get_destination(request, destination_id, wiring.destinations())


@app.route(
    "/destinations/{destination_id}",
    methods=["PUT"],
    scope="destinations:write",
    spec=destinations.PUT_DESTINATION,
)
def put_destination(request: Request, destination_id: str) -> Response:
    return destinations.put_destination(request, destination_id, wiring.destinations())


@app.route(
    "/destinations/{destination_id}",
    methods=["DELETE"],
    scope="destinations:write",
    spec=destinations.DELETE_DESTINATION,
)
def delete_destination(request: Request, destination_id: str) -> Response:
    return destinations.delete_destination(request, destination_id, wiring.destinations())


@app.route(
    "/destinations/{destination_id}/rotate",
    methods=["POST"],
    scope="destinations:write",
    spec=destinations.ROTATE_SECRET,
)
def rotate_secret(request: Request, destination_id: str) -> Response:
    return destinations.rotate_secret(request, destination_id, wiring.destinations())


@app.route(
    "/destinations/{destination_id}/attempts",
    methods=["GET"],
    scope="destinations:read",
    spec=destinations.LIST_ATTEMPTS,
)
def list_attempts(request: Request, destination_id: str) -> Response:
    return destinations.list_attempts(request, destination_id, wiring.destinations())


@app.route(
    "/destinations/{destination_id}/retry",
    methods=["POST"],
    scope="destinations:write",
    spec=destinations.POST_RETRY,
)
def post_retry(request: Request, destination_id: str) -> Response:
    return destinations.post_retry(request, destination_id, wiring.destinations())


@app.route(
    "/events/{event_id}/deliveries",
    methods=["GET"],
    scope="destinations:read",
    spec=destinations.LIST_DELIVERIES,
)
def list_deliveries(request: Request, event_id: str) -> Response:
    return destinations.list_deliveries(request, event_id, wiring.destinations())


@app.on_s3_event(bucket=settings.uploads_bucket, events=["s3:ObjectCreated:*"])
def record_upload(event: LambdaEvent) -> dict[str, int]:
    return record_uploads(event.to_dict(), wiring.record_uploads()).to_dict()


@app.on_dynamodb_record(
    stream_arn=settings.items_stream_arn, batch_size=100, starting_position="TRIM_HORIZON"
)
def notify_owners(event: LambdaEvent) -> None:
    notify_of_changes(event.records, wiring.notify_owners(event.seconds_left))


@app.on_sqs_message(
    queue_arn=settings.ci_queue_arn,
    batch_size=10,
    maximum_concurrency=settings.alerts_concurrency or None,
)
def alert_ci_event(event: LambdaEvent) -> None:
    send_alerts(read_deliveries(event.records), wiring.send_alerts(event.seconds_left))


@app.on_sns_message(topic=settings.alert_topic_arn)
def relay_alarm(event: LambdaEvent) -> None:
    relay_alarms(event.records, wiring.alert_queue())


@app.on_sqs_message(
    queue_arn=settings.events_queue_arn,
    batch_size=settings.batch_size if settings.batching_window else 10,
    maximum_batching_window_in_seconds=settings.batching_window,
    maximum_concurrency=settings.events_concurrency or None,
)
def process_events(event: LambdaEvent) -> None:
    process_batch(read_deliveries(event.records), wiring.worker(event.seconds_left))


@app.on_sqs_message(
    queue_arn=settings.deliveries_queue_arn,
    batch_size=10,
    maximum_concurrency=settings.deliveries_concurrency or None,
)
def deliver(event: LambdaEvent) -> None:
    deliver_batch(read_deliveries(event.records), wiring.deliver(event.seconds_left))


@app.schedule(Rate(settings.reconcile_minutes, unit=Rate.MINUTES))
def reconcile(event: LambdaEvent) -> dict[str, object]:
    stuck_after = event.seconds("stuckAfterSeconds")
    restart_replays(wiring.restart_replays(stuck_after))
    take_up_due(wiring.due_deliveries(event.seconds_left))
    deps = wiring.reconcile(event.run_id, event.seconds_left, stuck_after)
    return reconcile_stores(deps).to_dict()
