"""Uploads: what a client may put under its prefix, and the record of an object that was created.

Pure values and functions. Sources: Amazon S3 User Guide, "Event message structure" (the
notification, its URL-encoded key, the order of sequencers), "Naming Amazon S3 objects"; Amazon S3
API Reference, "Creating a POST policy" (`$` has a meaning of its own in a form).
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import PermanentError
from chalicelib.core.names import is_owner

MAX_FILENAME_BYTES = 255
MAX_CONTENT_TYPE_BYTES = 255
DEFAULT_CONTENT_TYPE = "application/octet-stream"
MALFORMED = "malformed-record"
_PREFIX = "uploads/"
_CREATED = "ObjectCreated:"
_OBJECT_IDS = uuid.UUID("6f1c0b0e-3a55-5d0c-9f0e-5b8f7d0a9b21")
"""The namespace of object ids (RFC 9562, section 5.5)."""
_SEQUENCER = re.compile(r"[0-9A-Fa-f]+")
_REPLACED = str.maketrans(dict.fromkeys("/\\$", "_"))
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_DECEPTIVE = r"\u202a-\u202e\u2066-\u2069\ufffe\uffff"
FILENAME_PATTERN = rf"^[^{_CONTROL}{_DECEPTIVE}]*$"
"""What a file name can hold, as a JSON Schema has it. `filename_fault` is exact."""
_CONTROL_CHARACTER = re.compile(rf"[{_CONTROL}\ud800-\udfff]")
_DECEPTIVE_CHARACTER = re.compile(f"[{_DECEPTIVE}]")
_NAME = "[A-Za-z0-9][A-Za-z0-9!#&^_.+-]{0,126}"
_VALUE = r'([A-Za-z0-9!#&^_.+-]+|"[ !#%-\[\]-~]*")'
MEDIA_TYPE_PATTERN = rf"^{_NAME}/{_NAME}([ \t]*;[ \t]*[A-Za-z0-9!#&^_.+-]+={_VALUE})*$"
"""A media type (RFC 9110, section 8.3.1), as a JSON Schema has it; a quoted value without `$`."""
T = TypeVar("T")


class UploadOrder(Struct, frozen=True):
    """What a client asks to upload: a file name as it gave it, and what S3 is to accept."""

    filename: str
    content_type: str
    max_bytes: int


class UploadForm(Struct, frozen=True):
    """A signed form: POST `fields`, and the file as the last field `file`, to `url`."""

    url: str
    fields: Mapping[str, str]


class UploadOffer(Struct, frozen=True):
    """An upload that the client may make until `expires_at`."""

    upload_id: str
    bucket: str
    object_key: str
    order: UploadOrder
    form: UploadForm
    expires_at: str

    def to_dict(self) -> dict[str, Any]:
        """What `POST /uploads` answers."""
        return {
            "uploadId": self.upload_id,
            "bucket": self.bucket,
            "objectKey": self.object_key,
            "method": "POST",
            "url": self.form.url,
            "fields": dict(self.form.fields),
            "contentType": self.order.content_type,
            "maxBytes": self.order.max_bytes,
            "expiresAt": self.expires_at,
        }


class ObjectRecord(Struct, frozen=True):
    """One created object (of a versioned bucket: one version). `timestamp`, when it was recorded,
    and `ttl`, when the record expires, are seconds since 1970; `owner` is None for an object that
    was put outside the uploads prefix."""

    object_id: str
    bucket: str
    object_key: str
    size: int | None
    etag: str | None
    version_id: str | None
    sequencer: str | None
    owner: str | None
    event_name: str
    event_time: str
    timestamp: int
    ttl: int

    def to_dict(self) -> dict[str, Any]:
        """The record under the contract's names."""
        return {name: getattr(self, attribute) for name, attribute in _FIELDS.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ObjectRecord":
        """The inverse of `to_dict`; what is not there is None."""
        return cls(**{attribute: values.get(name) for name, attribute in _FIELDS.items()})  # type: ignore[arg-type]

    @property
    def list_key(self) -> str:
        """Its place in lists: by the time of the event, so the same for every delivery."""
        return f"{self.event_time}#{self.object_id}"

    @property
    def sequence(self) -> str:
        """The sequencer in a form whose order as text is its order in S3."""
        return comparable_sequencer(self.sequencer or "")


_FIELDS = {
    "objectId": "object_id",
    "bucket": "bucket",
    "objectKey": "object_key",
    "size": "size",
    "etag": "etag",
    "versionId": "version_id",
    "sequencer": "sequencer",
    "owner": "owner",
    "eventName": "event_name",
    "eventTime": "event_time",
    "timestamp": "timestamp",
    "ttl": "ttl",
}


def filename_fault(text: object) -> str | None:
    """What is wrong with a file name, in words; None when nothing is.

    Any Unicode but control characters, line separators and those that turn the direction of the
    text (a name must not look like another); 1 to 255 bytes of UTF-8.
    """
    if not isinstance(text, str):
        return "must be a string"
    if not text.strip():
        return "must not be empty"
    if _CONTROL_CHARACTER.search(text):
        return "must hold no control characters"
    if _DECEPTIVE_CHARACTER.search(text):
        return "must hold no characters that change the direction of text or are none"
    if len(text.encode()) > MAX_FILENAME_BYTES:
        return f"must be at most {MAX_FILENAME_BYTES} bytes of UTF-8"
    return None


def upload_key(owner: str, upload_id: str, filename: str) -> str:
    """`uploads/<owner>/<uploadId>/<safe file name>`: a name cannot leave its upload's prefix, and
    `$`, with which a form could name a variable, becomes `_` like the path separators."""
    name = filename.translate(_REPLACED)
    if set(name) == {"."}:
        name = "_" * len(name)
    return f"{_PREFIX}{owner}/{upload_id}/{name}"


def owner_of(key: str) -> str | None:
    """The owner under whose prefix an object is; None for one that was put elsewhere."""
    owner, slash, rest = key.removeprefix(_PREFIX).partition("/")
    inside = key.startswith(_PREFIX) and slash and rest
    return owner if inside and is_owner(owner) else None


def comparable_sequencer(sequencer: str) -> str:
    """A sequencer without the zeros at its end, in upper case.

    S3 compares sequencers as text after padding the shorter with zeros on the right; without its
    zeros, each compares the same with any other whatever their lengths.
    """
    return sequencer.upper().rstrip("0")


def object_id(bucket: str, key: str, version_id: str | None, sequencer: str | None) -> str:
    """The same for every notification of one object, another for a new version: a UUIDv5 of the
    version or, in a bucket without versions, of the sequencer."""
    part = ["version", version_id] if version_id else ["sequence", sequencer]
    return str(uuid.uuid5(_OBJECT_IDS, json.dumps([bucket, key, *part])))


def read_notification(record: object, now: datetime, ttl_seconds: int) -> ObjectRecord | None:
    """The object that one record of an S3 notification tells of, recorded `now`; None when the
    record tells of something other than a creation. `PermanentError` when it is no such record."""
    event = _member(record, "eventName", str).removeprefix("s3:")
    if not event.startswith(_CREATED):
        return None
    details = _member(record, "s3", dict)
    source = _member(details, "object", dict)
    version_id, sequencer = _version(source)
    timestamp = int(now.timestamp())
    try:
        bucket = _text(_member(_member(details, "bucket", dict), "name", str))
        key = unquote_plus(_text(_member(source, "key", str)), errors="strict")
        return ObjectRecord(
            object_id=object_id(bucket, key, version_id, sequencer),
            bucket=bucket,
            object_key=key,
            size=_optional(source, "size", int),
            etag=_text(_optional(source, "eTag", str)),
            version_id=version_id,
            sequencer=sequencer,
            owner=owner_of(key),
            event_name=_text(event),
            event_time=clock.to_text(clock.from_text(_member(record, "eventTime", str))),
            timestamp=timestamp,
            ttl=timestamp + ttl_seconds,
        )
    except (ValueError, OverflowError) as error:
        raise _malformed("holds a time or a text that is none") from error


def _version(source: dict[str, Any]) -> tuple[str | None, str | None]:
    """(version id, sequencer) of an object; at least one of them is there."""
    sequencer = _optional(source, "sequencer", str)
    if sequencer is not None and _SEQUENCER.fullmatch(sequencer) is None:
        raise _malformed("has a sequencer that is no hexadecimal number")
    version_id = _optional(source, "versionId", str)
    # Where versioning is suspended every object is version "null", and replaces the one before.
    version_id = None if version_id in ("", "null") else _text(version_id)
    if version_id is None and sequencer is None:
        raise _malformed("has neither a version nor a sequencer")
    return version_id, sequencer


def _text(value: T) -> T:
    """`value` itself; ValueError for a text with a lone surrogate, which is no Unicode text."""
    if isinstance(value, str):
        value.encode()
    return value


def _member(parent: object, name: str, kind: type[T]) -> T:
    value = _optional(parent, name, kind)
    if value is None:
        raise _malformed(f"has no {name}")
    return value


def _optional(parent: object, name: str, kind: type[T]) -> T | None:
    if not isinstance(parent, dict):
        raise _malformed("is no JSON object")
    value = parent.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise _malformed(f"has a {name} of another kind than S3 sends")
    return value


def _malformed(fault: str) -> PermanentError:
    return PermanentError(f"the record {fault}", code=MALFORMED)
