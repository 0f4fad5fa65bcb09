"""What a bronze object says of its event beside the payload: enough to rebuild the ledger's entry.

S3 keeps 2,048 bytes of names and values, in ASCII (Amazon S3 User Guide, "Working with object
metadata"), so names are percent-encoded and a CloudEvent's attributes are JSON in ASCII.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote, unquote

from chalicelib.domain.events import Event
from chalicelib.domain.payloads import dump_json

MAX_BYTES = 2048 - 64
"""With room for the code of a refusal."""
_TEXTS = {
    "owner": "owner",
    "source": "source",
    "subject": "subject",
    "received-at": "received_at",
    "sha256": "payload_sha256",
}
_NEEDED = ("owner", "source", "received-at", "sha256")
_SCHEMA, _CLOUD_EVENT, REJECTED = "schema-version", "cloud-event", "rejected"


def to_metadata(event: Event, rejected: str | None = None) -> dict[str, str]:
    """The metadata of an event's payload; `rejected` is the code of the refusal, if it was."""
    metadata = {
        name: quote(value, safe="/:")
        for name, attribute in _TEXTS.items()
        if (value := getattr(event, attribute)) is not None
    }
    if event.schema_version is not None:
        metadata[_SCHEMA] = str(event.schema_version)
    if event.cloud_event is not None:
        metadata[_CLOUD_EVENT] = dump_json(event.cloud_event)
    if rejected is not None:
        metadata[REJECTED] = rejected
    return metadata


def fits(event: Event) -> bool:
    """Whether S3 can keep the event's metadata."""
    metadata = to_metadata(event)
    return sum(len(name) + len(value) for name, value in metadata.items()) <= MAX_BYTES


def from_metadata(
    metadata: Mapping[str, str], named: tuple[str, str], key: str, size: int, content_type: str
) -> Event | None:
    """The event of an object; `named` is the (eventType, eventId) of its `key`. None when the
    object is not one that ingest wrote, or holds what was rejected."""
    if REJECTED in metadata or not all(name in metadata for name in _NEEDED):
        return None
    texts = {
        attribute: unquote(metadata[name]) for name, attribute in _TEXTS.items() if name in metadata
    }
    version, context = metadata.get(_SCHEMA), metadata.get(_CLOUD_EVENT)
    try:
        return Event(
            event_id=named[1],
            event_type=named[0],
            subject=texts.pop("subject", None),
            payload_bytes=size,
            content_type=content_type,
            s3_key=key,
            schema_version=None if version is None else int(version),
            cloud_event=None if context is None else json.loads(context),
            **texts,
        )
    except ValueError:
        return None
