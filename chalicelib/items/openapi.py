"""Items, and who is told when one changes."""

from chalicelib.items.model import EXPIRY, MAX_ENTITY_TAGS
from chalicelib.web.describe import (
    ETAG,
    EVENT_ID,
    LOCATION,
    MOMENT,
    OWNER_PATTERN,
    PAGE,
    REPLAYED,
    Json,
    content,
    header,
    moment,
    nullable,
    number,
    operation,
    order,
    page_of,
    parameter,
    path,
    query,
    record,
    response,
    schema,
    text,
    uuid,
)

TAG = "Items"
_TAG = '(W/)?"[!#-~]*"'
_TAGS = rf"^([*]|{_TAG}([ \t]*,[ \t]*{_TAG}){{0,{MAX_ENTITY_TAGS - 1}}})$"
_ITEM = {"name": "desk", "price": "120.00"}
_EXAMPLE = {
    "itemId": EVENT_ID,
    "owner": "shop",
    "version": 1,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
    EXPIRY: None,
    "dataBytes": 32,
    "data": _ITEM,
}
_SUBSCRIPTION = {
    "subscriptionId": EVENT_ID,
    "protocol": "email",
    "endpoint": "shop@example.com",
    "status": "pending",
    "createdAt": MOMENT,
}
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ENDPOINTS = {
    "email": text(
        maxLength=254,
        pattern=rf"^(?=.{{1,64}}@){_ATOM}+(\.{_ATOM}+)*@({_LABEL}\.)+[A-Za-z0-9-]{{2,63}}$",
    ),
    "sqs": text(
        "The ARN of a standard queue.",
        maxLength=2048,
        pattern="^arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}$",
    ),
    "https": text(maxLength=2048, pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?][!#-~]*)?$"),
}


def parameters() -> dict[str, Json]:
    """The components."""
    tags = text(pattern=_TAGS, maxLength=1024)
    of = f"The item's ETag, up to {MAX_ENTITY_TAGS} between commas, or `*` for any state."
    return {
        "item_id": path("item_id", "The item's id.", uuid()),
        "subscription_id": path("subscription_id", "The subscription's id.", uuid()),
        "owner": query(
            "owner", text(pattern=OWNER_PATTERN), "Whose; only an admin may name another."
        ),
        "If-Match": header("If-Match", tags, f"Change it only in this state. {of}", required=True),
        "If-None-Match": header("If-None-Match", tags, f"304 while it is in this state. {of}"),
    }


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "ItemData": {
            "type": "object",
            "description": "Any JSON object of at most 1 MiB.",
            "properties": {
                EXPIRY: nullable(
                    text("A time to come, at which the item ends by itself.", format="date-time")
                )
            },
            "additionalProperties": True,
        },
        "Item": record(
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
        "SubscriptionOrder": {
            "oneOf": [
                order(
                    {"protocol": text(const=protocol), "endpoint": endpoint},
                    ["protocol", "endpoint"],
                )
                for protocol, endpoint in _ENDPOINTS.items()
            ]
        },
        "Subscription": record(
            {
                "subscriptionId": uuid(),
                "protocol": {"type": "string", "enum": list(_ENDPOINTS)},
                "endpoint": text(),
                "status": {
                    "type": "string",
                    "enum": ["pending", "confirmed"],
                    "description": "pending until the endpoint's owner follows the link.",
                },
                "createdAt": moment(),
            }
        ),
    }


def paths() -> dict[str, Json]:
    """The operations."""
    one = parameter("item_id")
    item_id = {"item_id": "$response.body#/itemId"}
    state = {**item_id, "If-Match": "$response.header.ETag"}
    same = {"get_item": item_id, "put_item": state, "delete_item": state}
    shown = content(schema("Item"), item=_EXAMPLE)
    sent = content(schema("ItemData"), item=_ITEM)
    made: dict[str, Json] = {"Location": LOCATION, "ETag": ETAG, "Idempotent-Replayed": REPLAYED}
    page = content(page_of(schema("Item")), page={"items": [_EXAMPLE], "cursor": None})
    return {
        "/items": {
            "post": operation(
                "post_item",
                "items:write",
                TAG,
                "Make an item",
                {201: response("The item as it was first made.", shown, made, same)},
                (415, 422),
                parameters=[parameter("Idempotency-Key")],
                body=sent,
            ),
            "get": operation(
                "list_items",
                "items:read",
                TAG,
                "A page of an owner's items, newest first",
                {200: response("The page; it may be short where items are large.", page)},
                parameters=[*PAGE, parameter("owner")],
            ),
        },
        "/items/{item_id}": {
            "get": operation(
                "get_item",
                "items:read",
                TAG,
                "One item",
                {
                    200: response("The item.", shown, {"ETag": ETAG}),
                    304: response("It is in the state named.", headers={"ETag": ETAG}),
                },
                (404,),
                parameters=[one, parameter("If-None-Match")],
            ),
            "put": operation(
                "put_item",
                "items:write",
                TAG,
                "Make an item hold other data",
                {200: response("The item as it is now.", shown, {"ETag": ETAG})},
                (404, 412, 415, 428),
                parameters=[one, parameter("If-Match")],
                body=sent,
            ),
            "delete": operation(
                "delete_item",
                "items:write",
                TAG,
                "Remove an item",
                {204: response("It is gone.")},
                (404, 412, 428),
                parameters=[one, parameter("If-Match")],
            ),
        },
        "/subscriptions": {"post": _post_subscription(), "get": _list_subscriptions()},
        "/subscriptions/{subscription_id}": {
            "delete": operation(
                "delete_subscription",
                "items:write",
                TAG,
                "End a subscription",
                {204: response("It is gone.")},
                (404,),
                parameters=[parameter("subscription_id")],
            )
        },
    }


def _post_subscription() -> Json:
    ended = {"delete_subscription": {"subscription_id": "$response.body#/subscriptionId"}}
    return operation(
        "post_subscription",
        "items:write",
        TAG,
        "Be told of changes of one's own items",
        {
            201: response(
                "The subscription; the same endpoint again is the same one.",
                content(schema("Subscription"), subscription=_SUBSCRIPTION),
                {"Location": LOCATION},
                ended,
            )
        },
        (409, 415),
        description="409 for an endpoint that another owner has; 400 for one that SNS refuses.",
        body=content(
            schema("SubscriptionOrder"),
            email={"protocol": "email", "endpoint": "shop@example.com"},
        ),
    )


def _list_subscriptions() -> Json:
    page = {"items": [_SUBSCRIPTION], "cursor": None}
    return operation(
        "list_subscriptions",
        "items:write",
        TAG,
        "A page of an owner's subscriptions, newest first",
        {200: response("The page.", content(page_of(schema("Subscription")), page=page))},
        parameters=[*PAGE, parameter("owner")],
    )
