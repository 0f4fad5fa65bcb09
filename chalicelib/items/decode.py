"""From requests about items and subscriptions to the values that services take."""

import re

from chalicelib.core.errors import (
    FieldError,
    ForbiddenError,
    InvalidRequestError,
    PayloadTooLargeError,
    PreconditionRequiredError,
    UnsupportedMediaTypeError,
)
from chalicelib.core.names import is_owner
from chalicelib.core.strict_json import parse_json
from chalicelib.items.manage import NewItem
from chalicelib.items.model import (
    MAX_ITEM_BYTES,
    Content,
    Revision,
    make_content,
    revisions_to_change,
)
from chalicelib.items.subscriptions import SubscriptionOrder
from chalicelib.web.api import Call
from chalicelib.web.parse import (
    JSON_TYPE,
    check_idempotency_key,
    read_cursor,
    read_limit,
    single_values,
)

_MAX_EMAIL, _MAX_URL = 254, 2048
_EMAIL = re.compile(
    r"(?=.{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}"
)
_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?][\x21\x23-\x7e]*)?")
_QUEUE_ARN = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,80}")


def decode_new_item(call: Call) -> NewItem:
    """`POST /items`: any JSON object; `Idempotency-Key` makes it idempotent."""
    key = call.header("idempotency-key")
    if key is not None:
        check_idempotency_key(key)
    return NewItem(call.caller.owner, _content(call), key)


def decode_item_change(call: Call) -> tuple[Content, tuple[Revision, ...] | None]:
    """`PUT /items/{id}`: (what the item is to hold, the revisions it may be at)."""
    revisions = decode_if_match(call)
    return _content(call), revisions


def decode_if_match(call: Call) -> tuple[Revision, ...] | None:
    """The revisions at which a change may be made, None for any (`*`).

    `PreconditionRequiredError` without the header (RFC 6585, section 3).
    """
    header = call.header("if-match")
    if header is None:
        raise PreconditionRequiredError("send If-Match with the ETag that you read, or *")
    return revisions_to_change(header)


def decode_owned_page(call: Call) -> tuple[str, int, str | None]:
    """`GET /items`, `GET /subscriptions`: (whose, page size, the list key to go on below).

    The caller's own; an admin may name another `owner`.
    """
    query = single_values(call.query, ("limit", "cursor", "owner"))
    owner = query.get("owner", call.caller.owner)
    if not is_owner(owner):
        raise InvalidRequestError.at("/query/owner", "is not an owner's name")
    if owner != call.caller.owner and not call.caller.is_admin:
        raise ForbiddenError("only an admin may list what another owner has")
    return owner, read_limit(query), read_cursor(query)


def decode_subscription_order(call: Call) -> SubscriptionOrder:
    """`POST /subscriptions`: `{"protocol": "email"|"sqs"|"https", "endpoint"}`."""
    _check_type(call)
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    faults = [
        FieldError(f"/{name}", "is not known here")
        for name in body.keys() - {"protocol", "endpoint"}
    ]
    protocol, endpoint = body.get("protocol"), body.get("endpoint")
    if not isinstance(protocol, str) or protocol not in _ENDPOINTS:
        faults.append(FieldError("/protocol", f"must be one of {', '.join(_ENDPOINTS)}"))
    else:
        pattern, longest, words = _ENDPOINTS[protocol]
        text = endpoint if isinstance(endpoint, str) and len(endpoint) <= longest else ""
        if not pattern.fullmatch(text):
            faults.append(FieldError("/endpoint", f"must be {words}"))
    if faults:
        raise InvalidRequestError("the subscription can not be made", faults)
    return SubscriptionOrder(call.caller.owner, body["protocol"], body["endpoint"])


_ENDPOINTS = {
    "email": (_EMAIL, _MAX_EMAIL, "an e-mail address"),
    "sqs": (_QUEUE_ARN, _MAX_URL, "the ARN of a standard SQS queue"),
    "https": (_URL, _MAX_URL, "an https URL"),
}


def _content(call: Call) -> Content:
    _check_type(call)
    if len(call.body) > MAX_ITEM_BYTES:
        raise PayloadTooLargeError(
            f"the item has {len(call.body)} bytes; at most {MAX_ITEM_BYTES} are accepted"
        )
    return make_content(parse_json(call.body))


def _check_type(call: Call) -> None:
    content_type = call.header("content-type") or "application/json"
    if not JSON_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaTypeError("the body is sent as application/json in UTF-8")
