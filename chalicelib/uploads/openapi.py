"""Uploads in the OpenAPI document."""

from chalicelib.uploads.model import (
    DEFAULT_CONTENT_TYPE,
    MAX_CONTENT_TYPE_BYTES,
    MAX_FILENAME_BYTES,
)
from chalicelib.web.describe import (
    EVENT_ID,
    MOMENT,
    PAGE,
    Json,
    content,
    moment,
    nullable,
    number,
    operation,
    order,
    page_of,
    record,
    response,
    schema,
    text,
    uuid,
)

_MAX_BYTES = 104_857_600
_FILENAME = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]*$"
_NAME = "[A-Za-z0-9][A-Za-z0-9!#&^_.+-]{0,126}"
_VALUE = r'([A-Za-z0-9!#&^_.+-]+|"[ !#%-\[\]-~]*")'
_MEDIA_TYPE = rf"^{_NAME}/{_NAME}([ \t]*;[ \t]*[A-Za-z0-9!#&^_.+-]+={_VALUE})*$"
_UPLOAD = {
    "uploadId": EVENT_ID,
    "bucket": "eventline-dev-123456789012-uploads",
    "objectKey": f"uploads/shop/{EVENT_ID}/photo.png",
    "method": "POST",
    "url": "https://eventline-dev-123456789012-uploads.s3.amazonaws.com/",
    "fields": {"key": f"uploads/shop/{EVENT_ID}/photo.png", "Content-Type": "image/png"},
    "contentType": "image/png",
    "maxBytes": 1_000_000,
    "expiresAt": MOMENT,
}
_RECORD = {
    "objectId": EVENT_ID,
    "bucket": "eventline-dev-123456789012-uploads",
    "objectKey": f"uploads/shop/{EVENT_ID}/photo.png",
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


def schemas() -> dict[str, Json]:
    """The components."""
    return {
        "UploadOrder": _upload_order(),
        "UploadOffer": record(
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
        "UploadRecord": record(
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
    }


def paths() -> dict[str, Json]:
    """The operations."""
    example = {"filename": "photo.png", "contentType": "image/png", "maxBytes": 1_000_000}
    return {
        "/uploads": {
            "post": operation(
                "post_upload",
                "uploads:write",
                "Uploads",
                "Get a signed form with which a file can be uploaded",
                {201: response("The form.", content(schema("UploadOffer"), offer=_UPLOAD))},
                body=content(schema("UploadOrder"), photo=example),
            ),
            "get": operation(
                "list_uploads",
                "uploads:read",
                "Uploads",
                "A page of the objects that were created, newest first",
                {
                    200: response(
                        "The page.",
                        content(
                            page_of(schema("UploadRecord")),
                            page={"items": [_RECORD], "cursor": None},
                        ),
                    )
                },
                parameters=PAGE,
            ),
        },
    }


def _upload_order() -> Json:
    filename = text(
        f"The file's name: no control characters, none that turn the direction of text, at most"
        f" {MAX_FILENAME_BYTES} bytes of UTF-8.",
        minLength=1,
        maxLength=MAX_FILENAME_BYTES,
        pattern=_FILENAME,
        allOf=[{"pattern": r"\S"}],
    )
    return order(
        {
            "filename": filename,
            "contentType": text(
                maxLength=MAX_CONTENT_TYPE_BYTES,
                pattern=_MEDIA_TYPE,
                default=DEFAULT_CONTENT_TYPE,
            ),
            "maxBytes": number(
                "The largest file that S3 is to accept; a stage may set another limit.",
                minimum=1,
                maximum=_MAX_BYTES,
            ),
        },
        ["filename"],
    )
