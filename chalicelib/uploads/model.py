"""Uploads: what a client may put under its prefix, and the record of a created object.

Sources: Amazon S3 User Guide, "Event message structure" (the notification, its URL-encoded key, the
order of sequencers), "Naming Amazon S3 objects"; Amazon S3 API Reference, "Creating a POST policy"
(`$` starts a variable in a form).
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import Meta, Struct

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
_REPLACED = str.maketrans(dict.fromkeys("/\\$", "_"))
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_DECEPTIVE = r"\u202a-\u202e\u2066-\u2069\ufffe\uffff"
FILENAME_PATTERN = rf"^[^{_CONTROL}{_DECEPTIVE}]*$"
"""For the JSON Schema of a file name, which cannot be as exact as `filename_fault`."""
_CONTROL_CHARACTER = rf"[{_CONTROL}\ud800-\udfff]"
_DECEPTIVE_CHARACTER = f"[{_DECEPTIVE}]"
_NAME = "[A-Za-z0-9][A-Za-z0-9!#&^_.+-]{0,126}"
_VALUE = r'([A-Za-z0-9!#&^_.+-]+|"[ !#%-\[\]-~]*")'
MEDIA_TYPE_PATTERN = rf"^{_NAME}/{_NAME}([ \t]*;[ \t]*[A-Za-z0-9!#&^_.+-]+={_VALUE})*$"
"""For the JSON Schema of a media type (RFC 9110, section 8.3.1); no `$` in a quoted value."""


class UploadOrder(Struct, frozen=True):
    """What a client asks to upload: its own file name, and what S3 should accept."""

    filename: str
    content_type: str
    max_bytes: int


class UploadOffer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A signed form, good until `expires_at`: POST `fields`, and the file as the last field `file`,
    to `url`."""

    upload_id: str
    bucket: str
    object_key: str
    method: str = "POST"
    url: str
    fields: Mapping[str, str]
    content_type: str
    max_bytes: int
    expires_at: str


class ObjectRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """One created object (in a versioned bucket: one version), as the table and the API have it.

    `timestamp` (when it was recorded) and `ttl` (when the record expires) are seconds since 1970;
    `owner` is None for an object outside the uploads prefix.
    """

    object_id: str
    bucket: str
    object_key: str
    size: int | None = None
    etag: str | None = None
    version_id: str | None = None
    sequencer: str | None = None
    owner: str | None = None
    event_name: str
    event_time: str
    timestamp: int
    ttl: int

    def to_dict(self) -> Any:
        """The record as the API shows it."""
        return msgspec.to_builtins(self)

    @property
    def list_key(self) -> str:
        """Orders lists by the time of the event, so every delivery gives the same key."""
        return f"{self.event_time}#{self.object_id}"

    @property
    def sequence(self) -> str:
        """The sequencer in a form that sorts as text in the order of S3."""
        return comparable_sequencer(self.sequencer or "")


class _Bucket(Struct):
    name: str


class _Object(Struct, rename="camel"):
    key: str
    size: int | None = None
    e_tag: str | None = None
    version_id: str | None = None
    sequencer: Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]+\Z")] | None = None


class _S3(Struct):
    bucket: _Bucket
    object: _Object


class _Event(Struct, rename="camel"):
    """One record of an S3 notification."""

    event_name: str


class _Creation(_Event, rename="camel"):
    event_time: str
    s3: _S3


def filename_fault(text: object) -> str | None:
    """What is wrong with a file name, in words; None for a good one.

    A name is 1 to 255 bytes of UTF-8, without control characters, line separators and characters
    that change the direction of text (one name must not look like another).
    """
    if not isinstance(text, str):
        return "must be a string"
    if not text.strip():
        return "must not be empty"
    if re.search(_CONTROL_CHARACTER, text):
        return "must hold no control characters"
    if re.search(_DECEPTIVE_CHARACTER, text):
        return "must hold no noncharacters or characters that change the direction of text"
    if len(text.encode()) > MAX_FILENAME_BYTES:
        return f"must be at most {MAX_FILENAME_BYTES} bytes of UTF-8"
    return None


def upload_key(owner: str, upload_id: str, filename: str) -> str:
    """`uploads/<owner>/<uploadId>/<safe file name>`. Path separators become `_`, so that a name
    cannot leave its prefix, and so does `$`, so that it cannot name a variable of the form."""
    name = filename.translate(_REPLACED)
    if set(name) == {"."}:
        name = "_" * len(name)
    return f"{_PREFIX}{owner}/{upload_id}/{name}"


def owner_of(key: str) -> str | None:
    """The owner whose prefix a key is under; None for any other key."""
    owner, slash, rest = key.removeprefix(_PREFIX).partition("/")
    inside = key.startswith(_PREFIX) and slash and rest
    return owner if inside and is_owner(owner) else None


def comparable_sequencer(sequencer: str) -> str:
    """A sequencer in upper case, without the zeros at its end.

    S3 pads the shorter of two sequencers with zeros on the right and compares them as text. Without
    trailing zeros, they compare the same at any length.
    """
    return sequencer.upper().rstrip("0")


def object_id(bucket: str, key: str, version_id: str | None, sequencer: str | None) -> str:
    """The same id for every notification of one object, a new one for each version: a UUIDv5 of the
    version or, in a bucket without versions, of the sequencer."""
    part = ["version", version_id] if version_id else ["sequence", sequencer]
    return str(uuid.uuid5(_OBJECT_IDS, json.dumps([bucket, key, *part])))


def read_notification(record: object, now: datetime, ttl_seconds: int) -> ObjectRecord | None:
    """The object in one record of an S3 notification, recorded `now`; None for any event but a
    creation. Raises `PermanentError` for a malformed record."""
    try:
        event = msgspec.convert(record, _Event).event_name.removeprefix("s3:")
        if not event.startswith(_CREATED):
            return None
        creation = msgspec.convert(record, _Creation)
        found, bucket = creation.s3.object, creation.s3.bucket.name
        # While versioning is suspended, every object is version "null" and replaces the last one.
        version_id = None if found.version_id in ("", "null") else found.version_id
        if version_id is None and found.sequencer is None:
            raise _malformed("it has neither a version nor a sequencer")
        key = unquote_plus(found.key, errors="strict")
        timestamp = int(now.timestamp())
        created = ObjectRecord(
            object_id=object_id(bucket, key, version_id, found.sequencer),
            bucket=bucket,
            object_key=key,
            size=found.size,
            etag=found.e_tag,
            version_id=version_id,
            sequencer=found.sequencer,
            owner=owner_of(key),
            event_name=event,
            event_time=clock.to_text(clock.from_text(creation.event_time)),
            timestamp=timestamp,
            ttl=timestamp + ttl_seconds,
        )
        msgspec.json.encode(created)  # fails for a lone surrogate, which no UTF-8 can hold
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error
    except (ValueError, OverflowError) as error:
        raise _malformed("it holds an invalid time or text") from error
    return created


def _malformed(fault: str) -> PermanentError:
    return PermanentError(f"the record is malformed: {fault}", code=MALFORMED)
