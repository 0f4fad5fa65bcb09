"""The routes of uploads: offer one, list what was created."""

from chalicelib.core.errors import FieldError
from chalicelib.uploads import manage
from chalicelib.uploads.manage import UploadDeps
from chalicelib.uploads.model import (
    DEFAULT_CONTENT_TYPE,
    FILENAME_PATTERN,
    MAX_CONTENT_TYPE_BYTES,
    MAX_FILENAME_BYTES,
    MEDIA_TYPE_PATTERN,
    UploadOrder,
    filename_fault,
)
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
                f"The file's name: no control characters, none that change the direction of text,"
                f" at most {MAX_FILENAME_BYTES} bytes of UTF-8.",
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


def post_upload(request: Request, deps: UploadDeps) -> Response:
    """`POST /uploads`: the stage sets the largest size, and `filename_fault` tells what is wrong
    with a name, which the schema cannot do as exactly."""
    body, faults = check_body(request, _ORDER.value)
    faults = [fault for fault in faults if fault.pointer not in ("/filename", "/maxBytes")]
    filename, max_bytes = body.get("filename", ""), body.get("maxBytes", deps.max_bytes)
    fault = filename_fault(filename)
    if fault:
        faults.insert(0, FieldError("/filename", fault))
    if type(max_bytes) is not int or not 1 <= max_bytes <= deps.max_bytes:
        faults.append(FieldError("/maxBytes", f"must be a whole number, 1 to {deps.max_bytes}"))
    refuse("the upload cannot be offered", faults)
    content_type = body.get("contentType", DEFAULT_CONTENT_TYPE)
    wanted = UploadOrder(filename, content_type, max_bytes)
    return answer(manage.offer_upload(wanted, request.caller.owner, deps).to_dict(), 201)


def list_uploads(request: Request, deps: UploadDeps) -> Response:
    """`GET /uploads`: the caller's own; those of all owners, and of none, for an admin."""
    asked = request.page()
    return page(*manage.list_uploads(request.caller, asked.limit, asked.below, deps))
