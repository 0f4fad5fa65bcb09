"""Uploads, and alerts."""

from typing import Any

from chalicelib.domain.alert_groups import GroupState
from chalicelib.domain.alerts import Severity
from chalicelib.domain.uploads import (
    DEFAULT_CONTENT_TYPE,
    MAX_CONTENT_TYPE_BYTES,
    MAX_FILENAME_BYTES,
)
from chalicelib.openapi.parts import (
    EVENT_ID,
    MOMENT,
    PAGE,
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

Json = dict[str, Any]

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
_ALERT = {
    "groupId": EVENT_ID,
    "kind": "ci",
    "severity": "error",
    "title": "Terraform Apply Failed",
    "repository": "shop/infra",
    "branch": "main",
    "link": None,
    "first": MOMENT,
    "last": MOMENT,
    "count": 3,
    "state": "delivered",
    "deliveredAt": MOMENT,
    "reportedCount": 0,
    "summaryAt": None,
    "reason": None,
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
        "AlertGroup": record(
            {
                "groupId": uuid(),
                "kind": text("What it is about."),
                "severity": {"type": "string", "enum": list(Severity)},
                "title": text(),
                "repository": nullable(text()),
                "branch": nullable(text()),
                "link": nullable(text()),
                "first": moment(),
                "last": moment(),
                "count": number("Equal alerts.", minimum=1),
                "state": {"type": "string", "enum": list(GroupState)},
                "deliveredAt": nullable(moment()),
                "reportedCount": number("Repeats that people were told of."),
                "summaryAt": nullable(moment()),
                "reason": nullable(text("Why its message was given up.")),
            },
            description="Equal alerts within a window, of which one message is posted.",
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
        "/alerts": {
            "get": operation(
                "list_alerts",
                "events:read",
                "Alerts",
                "A page of alert groups, newest first",
                {
                    200: response(
                        "The page; it may be short.",
                        content(
                            page_of(schema("AlertGroup")), page={"items": [_ALERT], "cursor": None}
                        ),
                    )
                },
                parameters=PAGE,
            )
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
