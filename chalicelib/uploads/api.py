"""The routes of uploads: offer one, list the records of what was created."""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import FieldError
from chalicelib.core.ids import new_event_id
from chalicelib.uploads.model import (
    DEFAULT_CONTENT_TYPE,
    FILENAME_PATTERN,
    MAX_CONTENT_TYPE_BYTES,
    MAX_FILENAME_BYTES,
    MEDIA_TYPE_PATTERN,
    UploadOffer,
    UploadOrder,
    filename_fault,
    upload_key,
)
from chalicelib.uploads.store import UploadBucket, UploadStore
from chalicelib.web.body import check_body, refuse
from chalicelib.web.describe import (
    EVENT_ID,
    MOMENT,
    PAGE,
    Operation,
    component,
    content,
    moment,
    nullable,
    number,
    order,
    page_of,
    record,
    response,
    text,
    uuid,
)
from chalicelib.web.request import Request
from chalicelib.web.responses import Response, answer, page

_TAG = "Uploads"
_MAX_BYTES = 104_857_600
"""The default of `UPLOAD_MAX_BYTES`; a stage checks its own."""
_BUCKET = "eventline-dev-123456789012-uploads"
_KEY = f"uploads/shop/{EVENT_ID}/photo.png"
_OFFER_EXAMPLE = {
    "uploadId": EVENT_ID,
    "bucket": _BUCKET,
    "objectKey": _KEY,
    "method": "POST",
    "url": f"https://{_BUCKET}.s3.amazonaws.com/",
    "fields": {"key": _KEY, "Content-Type": "image/png"},
    "contentType": "image/png",
    "maxBytes": 1_000_000,
    "expiresAt": MOMENT,
}
_RECORD_EXAMPLE = {
    "objectId": EVENT_ID,
    "bucket": _BUCKET,
    "objectKey": _KEY,
    "size": 3,
    "etag": "900150983cd24fb0d6963f7d28e17f72",
    "versionId": None,
    "sequencer": "0055AED6DCD90281E5",
    "owner": "shop",
    "eventName": "ObjectCreated:Post",
    "eventTime": MOMENT,
    "timestamp": 1769903999,
    "ttl": 1769990399,
}
_ORDER = component(
    "UploadOrder",
    order(
        {
            "filename": text(
                f"The file's name: no control characters, no characters that change the direction"
                f" of text, at most {MAX_FILENAME_BYTES} bytes of UTF-8.",
                minLength=1,
                maxLength=MAX_FILENAME_BYTES,
                pattern=FILENAME_PATTERN,
                allOf=[{"pattern": r"\S"}],
            ),
            "contentType": text(
                f"What S3 serves the file as: must be a media type of at most"
                f" {MAX_CONTENT_TYPE_BYTES} bytes, such as image/png",
                maxLength=MAX_CONTENT_TYPE_BYTES,
                pattern=MEDIA_TYPE_PATTERN,
                default=DEFAULT_CONTENT_TYPE,
            ),
            "maxBytes": number(
                "The largest file that S3 accepts; a stage may set another limit.",
                minimum=1,
                maximum=_MAX_BYTES,
            ),
        },
        ["filename"],
    ),
)
_OFFER = component(
    "UploadOffer",
    record(
        {
            "uploadId": uuid(),
            "bucket": text(),
            "objectKey": text(),
            "method": text(const="POST"),
            "url": text(format="uri"),
            "fields": {"type": "object", "additionalProperties": {"type": "string"}},
            "contentType": text(),
            "maxBytes": number(minimum=1),
            "expiresAt": moment(),
        },
        description="POST `fields`, and the file as the last field `file`, to `url`.",
    ),
)
_RECORD = component(
    "UploadRecord",
    record(
        {
            "objectId": uuid(),
            "bucket": text(),
            "objectKey": text(),
            "size": nullable(number()),
            "etag": nullable(text()),
            "versionId": nullable(text()),
            "sequencer": nullable(text()),
            "owner": nullable(text()),
            "eventName": text(),
            "eventTime": moment(),
            "timestamp": number("When it was recorded, in seconds since 1970."),
            "ttl": number("When the record ends, in seconds since 1970."),
        }
    ),
)

POST_UPLOAD = Operation(
    _TAG,
    "Get a signed form with which a file can be uploaded",
    {201: response("The form.", content(_OFFER, offer=_OFFER_EXAMPLE))},
    body=content(
        _ORDER, photo={"filename": "photo.png", "contentType": "image/png", "maxBytes": 1_000_000}
    ),
)
LIST_UPLOADS = Operation(
    _TAG,
    "A page of the objects that were created, newest first",
    {
        200: response(
            "The page.",
            content(page_of(_RECORD), page={"items": [_RECORD_EXAMPLE], "cursor": None}),
        )
    },
    parameters=PAGE,
)


class UploadDeps(Struct, frozen=True):
    """The collaborators of these routes. An offer is good for `url_seconds`; `max_bytes` is the
    largest upload that the stage offers."""

    bucket: UploadBucket
    records: UploadStore
    url_seconds: int
    max_bytes: int
    now: Callable[[], datetime] = clock.utc_now
    random_bytes: Callable[[int], bytes] = secrets.token_bytes


def post_upload(request: Request, deps: UploadDeps) -> Response:
    """`POST /uploads`. Two checks are not the schema's: the largest size is the stage's own, and
    `filename_fault` is more exact."""
    body, faults = check_body(request, _ORDER.value)
    faults = [fault for fault in faults if fault.pointer not in ("/filename", "/maxBytes")]
    filename, max_bytes = body.get("filename", ""), body.get("maxBytes", deps.max_bytes)
    fault = filename_fault(filename)
    if fault:
        faults.insert(0, FieldError("/filename", fault))
    if type(max_bytes) is not int or not 1 <= max_bytes <= deps.max_bytes:
        faults.append(FieldError("/maxBytes", f"must be a whole number, 1 to {deps.max_bytes}"))
    refuse("the upload cannot be offered", faults)
    wanted = UploadOrder(filename, body.get("contentType", DEFAULT_CONTENT_TYPE), max_bytes)
    offer = offer_upload(wanted, request.caller.owner, deps)
    return answer(msgspec.to_builtins(offer), 201)


def list_uploads(request: Request, deps: UploadDeps) -> Response:
    """`GET /uploads`: the caller's own; for an admin, those of all owners and of none."""
    asked, owner = request.page(), request.caller.sees_only
    return page(*deps.records.newest(owner, asked.limit, asked.below, deps.now()))


def offer_upload(order: UploadOrder, owner: str, deps: UploadDeps) -> UploadOffer:
    """Offer to upload one object to a new key under the owner's prefix. No call: nothing is stored
    before the object is there."""
    now = deps.now()
    upload_id = new_event_id(now, deps.random_bytes(10))
    key = upload_key(owner, upload_id, order.filename)
    url, fields = deps.bucket.sign_form(key, order, deps.url_seconds)
    # S3 counts whole seconds.
    expires_at = now.replace(microsecond=0) + timedelta(seconds=deps.url_seconds)
    return UploadOffer(
        upload_id=upload_id,
        bucket=deps.bucket.bucket,
        object_key=key,
        url=url,
        fields=fields,
        content_type=order.content_type,
        max_bytes=order.max_bytes,
        expires_at=clock.to_text(expires_at),
    )
