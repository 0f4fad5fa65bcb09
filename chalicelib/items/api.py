"""The routes of items, and of the subscriptions to their changes."""

from chalicelib.core.errors import (
    PayloadTooLargeError,
    PreconditionFailedError,
    PreconditionRequiredError,
)
from chalicelib.core.strict_json import parse_json
from chalicelib.items import manage, subscriptions
from chalicelib.items.manage import ItemDeps
from chalicelib.items.model import (
    ENTITY_TAG_CHARACTERS,
    EXPIRY,
    MAX_ENTITY_TAGS,
    MAX_ITEM_BYTES,
    TOMBSTONE,
    Content,
    Revisions,
    is_known,
    make_content,
    revisions_to_change,
)
from chalicelib.items.subscriptions import CONFIRMED, ENDED, ENDPOINTS, PENDING, SubscriptionDeps
from chalicelib.web.body import check_body, faults_of, refuse
from chalicelib.web.describe import (
    ETAG,
    EVENT_ID,
    IDEMPOTENCY_KEY,
    LOCATION,
    MOMENT,
    OWNER,
    PAGE,
    REPLAYED,
    Operation,
    component,
    content,
    header,
    moment,
    nullable,
    number,
    order,
    page_of,
    path,
    record,
    response,
    shared,
    text,
    uuid,
)
from chalicelib.web.request import Request
from chalicelib.web.responses import Response, answer, created, no_content, not_modified, page

_TAG = "Items"
_DATA = {"name": "desk", "price": "120.00"}
_EXAMPLE = {
    "itemId": EVENT_ID,
    "owner": "shop",
    "version": 1,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
    EXPIRY: None,
    "dataBytes": 32,
    "data": _DATA,
}
_ITEM_DATA = component(
    "ItemData",
    {
        "type": "object",
        "description": "Any JSON object of at most 1 MiB.",
        "properties": {
            EXPIRY: nullable(
                text("A time in the future, when the item expires.", format="date-time")
            )
        },
        "additionalProperties": True,
    },
)
_ITEM = component(
    "Item",
    record(
        {
            "itemId": uuid(),
            "owner": text(),
            "version": number("Counts changes, from 1.", minimum=1),
            "createdAt": moment(),
            "updatedAt": moment(),
            EXPIRY: nullable(moment()),
            "dataBytes": number("The size of the data as compact JSON."),
            "data": {
                "type": ["object", "null"],
                "description": "In lists, null for data of more than 64 KiB.",
                "additionalProperties": True,
            },
        }
    ),
)
_ENTITY_TAG = f'(W/)?"[{ENTITY_TAG_CHARACTERS}]*"'
_ENTITY_TAGS = text(
    pattern=rf"^([*]|{_ENTITY_TAG}([ \t]*,[ \t]*{_ENTITY_TAG}){{0,{MAX_ENTITY_TAGS - 1}}})$",
    maxLength=1024,
)
_OF = f"The item's ETag, up to {MAX_ENTITY_TAGS} between commas, or `*` for any state."
_IF_MATCH = shared(
    header("If-Match", _ENTITY_TAGS, f"Change it only in this state. {_OF}", required=True)
)
_IF_NONE_MATCH = shared(header("If-None-Match", _ENTITY_TAGS, f"304 if it is in this state. {_OF}"))
_ITEM_ID = shared(path("item_id", "The item's id.", uuid()))
_SENT = content(_ITEM_DATA, item=_DATA)
_SHOWN = content(_ITEM, item=_EXAMPLE)
_SAME_ITEM = {"item_id": "$response.body#/itemId"}
_SAME_STATE = {**_SAME_ITEM, "If-Match": "$response.header.ETag"}

_SUBSCRIPTION_EXAMPLE = {
    "subscriptionId": EVENT_ID,
    "protocol": "email",
    "endpoint": "shop@example.com",
    "status": PENDING,
    "createdAt": MOMENT,
}
_PROTOCOLS = {"type": "string", "enum": list(ENDPOINTS)}
_ANY_ORDER = order(
    {
        "protocol": {**_PROTOCOLS, "description": f"must be one of {', '.join(ENDPOINTS)}"},
        "endpoint": {},
        "token": {},
    },
    ["protocol"],
)
_TOKEN = text(
    "What the message to the endpoint says; it must be the newest and not older than a day.",
    minLength=1,
    maxLength=128,
)
_ORDERS = {
    protocol: order(
        {
            "protocol": text(const=protocol),
            "endpoint": text(
                f"must be {endpoint.words}",
                maxLength=endpoint.max_characters,
                pattern=endpoint.pattern,
            ),
            "token": _TOKEN,
        },
        ["protocol", "endpoint"],
    )
    for protocol, endpoint in ENDPOINTS.items()
}
_ORDER = component("SubscriptionOrder", {"oneOf": list(_ORDERS.values())})
_SUBSCRIPTION = component(
    "Subscription",
    record(
        {
            "subscriptionId": uuid(),
            "protocol": _PROTOCOLS,
            "endpoint": text(),
            "status": {
                "type": "string",
                "enum": [PENDING, CONFIRMED, ENDED],
                "description": "pending until the endpoint agrees, by the link or the token that it"
                " got; ended once it does not want the messages any more.",
            },
            "createdAt": moment(),
        }
    ),
)
_SUBSCRIPTION_ID = shared(path("subscription_id", "The subscription's id.", uuid()))

POST_ITEM = Operation(
    _TAG,
    "Make an item",
    {
        201: response(
            "The item as it was first made.",
            _SHOWN,
            {"Location": LOCATION, "ETag": ETAG, "Idempotent-Replayed": REPLAYED},
            {"get_item": _SAME_ITEM, "put_item": _SAME_STATE, "delete_item": _SAME_STATE},
        )
    },
    (409, 415, 422),
    description="409 when the item of this Idempotency-Key was deleted in the last"
    f" {TOMBSTONE.days} days.",
    parameters=[IDEMPOTENCY_KEY],
    body=_SENT,
)
LIST_ITEMS = Operation(
    _TAG,
    "A page of an owner's items, newest first",
    {
        200: response(
            "The page; it may be short if items are large.",
            content(page_of(_ITEM), page={"items": [_EXAMPLE], "cursor": None}),
        )
    },
    parameters=[*PAGE, OWNER],
)
GET_ITEM = Operation(
    _TAG,
    "One item",
    {
        200: response("The item.", _SHOWN, {"ETag": ETAG}),
        304: response("It is in a state that the client has.", headers={"ETag": ETAG}),
    },
    (404,),
    parameters=[_ITEM_ID, _IF_NONE_MATCH],
)
PUT_ITEM = Operation(
    _TAG,
    "Replace an item's data",
    {200: response("The item as it is now.", _SHOWN, {"ETag": ETAG})},
    (404, 412, 415, 428),
    parameters=[_ITEM_ID, _IF_MATCH],
    body=_SENT,
)
DELETE_ITEM = Operation(
    _TAG,
    "Delete an item",
    {204: response("It is gone.")},
    (404, 412, 428),
    parameters=[_ITEM_ID, _IF_MATCH],
)
POST_SUBSCRIPTION = Operation(
    _TAG,
    "Subscribe to changes of your own items",
    {
        201: response(
            "The subscription; the same order again is the same one.",
            content(_SUBSCRIPTION, subscription=_SUBSCRIPTION_EXAMPLE),
            {"Location": LOCATION},
            {"delete_subscription": {"subscription_id": "$response.body#/subscriptionId"}},
        )
    },
    (409, 415),
    description="The endpoint must agree. A new e-mail or HTTPS endpoint gets a link from SNS; any"
    " other one gets a message with a token, which is sent here with the same order. While it is"
    " pending, the same order without a token asks the endpoint again, at most once a minute. It"
    " can take SNS up to 15 minutes to begin and to end. 400 for an endpoint that SNS refuses; 409"
    " (`limit-reached`) when SNS holds no more subscriptions, or an endpoint has 149 owners.",
    body=content(_ORDER, email={"protocol": "email", "endpoint": "shop@example.com"}),
)
LIST_SUBSCRIPTIONS = Operation(
    _TAG,
    "A page of an owner's subscriptions, newest first",
    {
        200: response(
            "The page.",
            content(
                page_of(_SUBSCRIPTION), page={"items": [_SUBSCRIPTION_EXAMPLE], "cursor": None}
            ),
        )
    },
    parameters=[*PAGE, OWNER],
)
DELETE_SUBSCRIPTION = Operation(
    _TAG,
    "End a subscription",
    {204: response("It is gone.")},
    (404,),
    parameters=[_SUBSCRIPTION_ID],
)


def post_item(request: Request, deps: ItemDeps) -> Response:
    """`POST /items`: any JSON object; an `Idempotency-Key` makes it idempotent."""
    key, data = request.idempotency_key, _read_content(request)
    made = manage.create_item(request.caller.owner, data, key, deps)
    item, location = made.item, f"/items/{made.item.item_id}"
    return created(item.to_dict(), location, etag=item.etag, replayed=made.replayed)


def list_items(request: Request, deps: ItemDeps) -> Response:
    """`GET /items`: the caller's own; an admin may name another `owner`."""
    owner, asked = request.owned_page()
    return page(*manage.list_items(owner, asked.limit, asked.below, deps))


def get_item(request: Request, item_id: str, deps: ItemDeps) -> Response:
    """`GET /items/{item_id}`: 304 if `If-None-Match` names its state."""
    item = manage.read_item(item_id, request.caller, deps)
    known = request.header("if-none-match")
    if known and is_known(known, item):
        return not_modified(item.etag)
    return answer(item.to_dict(), headers={"ETag": item.etag})


def put_item(request: Request, item_id: str, deps: ItemDeps) -> Response:
    """`PUT /items/{item_id}`: only in a state that `If-Match` names, and `If-None-Match` does
    not."""
    revisions = _read_if_match(request)
    data = _read_content(request)
    revisions = _check_if_none_match(request, item_id, revisions, deps)
    item = manage.replace_item(item_id, data, revisions, request.caller, deps)
    return answer(item.to_dict(), headers={"ETag": item.etag})


def delete_item(request: Request, item_id: str, deps: ItemDeps) -> Response:
    """`DELETE /items/{item_id}`: only in a state that `If-Match` names, and `If-None-Match` does
    not."""
    revisions = _check_if_none_match(request, item_id, _read_if_match(request), deps)
    manage.delete_item(item_id, revisions, request.caller, deps)
    return no_content()


def post_subscription(request: Request, deps: SubscriptionDeps) -> Response:
    """`POST /subscriptions`: the protocol says what the endpoint must look like."""
    request.check_json()
    body, faults = check_body(request, _ANY_ORDER)
    if not any(fault.pointer == "/protocol" for fault in faults):
        faults = faults_of(body, _ORDERS[body["protocol"]])
    refuse("the subscription cannot be made", faults)
    owner, protocol, endpoint = request.caller.owner, body["protocol"], body["endpoint"]
    made = subscriptions.subscribe(owner, protocol, endpoint, deps, body.get("token"))
    return created(made.to_dict(), f"/subscriptions/{made.subscription_id}")


def list_subscriptions(request: Request, deps: SubscriptionDeps) -> Response:
    """`GET /subscriptions`: the caller's own; an admin may name another `owner`."""
    owner, asked = request.owned_page()
    return page(*subscriptions.list_subscriptions(owner, asked.limit, asked.below, deps))


def delete_subscription(request: Request, subscription_id: str, deps: SubscriptionDeps) -> Response:
    """`DELETE /subscriptions/{subscription_id}`."""
    subscriptions.unsubscribe(subscription_id, request.caller, deps)
    return no_content()


def _read_content(request: Request) -> Content:
    """The content in the body."""
    request.check_json()
    size = len(request.body)
    if size > MAX_ITEM_BYTES:
        raise PayloadTooLargeError(
            f"the item has {size} bytes; at most {MAX_ITEM_BYTES} are accepted"
        )
    return make_content(parse_json(request.body, exact=True))


def _read_if_match(request: Request) -> Revisions:
    """The revisions in `If-Match`; None for `*`.

    `PreconditionRequiredError` without the header (RFC 6585, section 3).
    """
    tags = request.header("if-match")
    if tags is None:
        raise PreconditionRequiredError("send If-Match with the ETag that you read, or *")
    return revisions_to_change(tags)


def _check_if_none_match(
    request: Request, item_id: str, revisions: Revisions, deps: ItemDeps
) -> Revisions:
    """The revisions to change, those of `If-Match`, if `If-None-Match` does not name the item's
    state (RFC 9110, section 13.2.2): else `PreconditionFailedError`. The calls of `read_item` where
    there is such a header."""
    known = request.header("if-none-match")
    if known is None:
        return revisions
    item = manage.read_item(item_id, request.caller, deps)
    if is_known(known, item):
        raise PreconditionFailedError(f"the item is at {item.etag} now")
    return revisions_to_change(item.etag) if revisions is None else revisions
