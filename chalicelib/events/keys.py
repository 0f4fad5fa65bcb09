"""The keys of the lake's objects, and the metadata of a bronze object.

An event type is percent-encoded in a key, so that it cannot leave its prefix. The metadata hold
what rebuilds the ledger's entry beside the payload. S3 keeps 2,048 bytes of names and values, in
ASCII (Amazon S3 User Guide, "Working with object metadata"), so names are percent-encoded and a
CloudEvent's attributes are JSON in ASCII.
"""

import json
import re
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote

from chalicelib.core import clock
from chalicelib.core.ids import is_event_id
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event

MAX_BYTES = 2048 - 64
"""With room for the code of a refusal."""
_BRONZE_KEY = r"bronze/(?P<event_type>[^/]+)/\d{4}/\d{2}/\d{2}/(?P<id>[^/]+)\.json"
_UNIT_KEY = (
    r"bronze/units/(?P<day>\d{4}/\d{2}/\d{2})/(?P<id>[^/.]+)(?P<rejected>\.rejected)?\.ndjson"
)
_SILVER_KEY = r"silver/[^/]+/dt=\d{4}-\d{2}-\d{2}/(?P<id>[^/]+)\.(?P<form>json|ndjson)"
_TEXTS = {
    "owner": "owner",
    "source": "source",
    "subject": "subject",
    "received-at": "received_at",
    "sha256": "payload_sha256",
}
_NEEDED = ("owner", "source", "received-at", "sha256")
_SCHEMA, _CLOUD_EVENT, REJECTED = "schema-version", "cloud-event", "rejected"


def bronze_key(event_type: str, received_at: str, event_id: str) -> str:
    """`bronze/<eventType>/<yyyy>/<mm>/<dd>/<eventId>.json`."""
    return f"bronze/{_segment(event_type)}/{_folder(received_at)}/{event_id}.json"


def silver_key(event: Event) -> str:
    """`silver/<eventType>/dt=<yyyy-mm-dd>/<eventId>.json`."""
    return f"{_silver_folder(event.event_type, event.received_at)}/{event.event_id}.json"


def parse_bronze_key(key: str) -> tuple[str, str] | None:
    """(event type, event id) of a bronze key; None for any other key."""
    match = _match(_BRONZE_KEY, key)
    return (unquote(match["event_type"]), match["id"]) if match else None


def parse_silver_key(key: str) -> tuple[str, bool] | None:
    """(id of the event or unit, whether it is a unit) of a silver key; None for any other key."""
    match = _match(_SILVER_KEY, key)
    return (match["id"], match["form"] == "ndjson") if match else None


def unit_bronze_key(received_at: str, unit_id: str) -> str:
    """`bronze/units/<yyyy>/<mm>/<dd>/<unitId>.ndjson`. An event type `units` shares the folder, but
    not the ending."""
    return f"bronze/units/{_folder(received_at)}/{unit_id}.ndjson"


def unit_silver_key(event_type: str, received_at: str, unit_id: str) -> str:
    """`silver/<eventType>/dt=<yyyy-mm-dd>/<unitId>.ndjson`."""
    return f"{_silver_folder(event_type, received_at)}/{unit_id}.ndjson"


def bronze_beside(silver_key: str) -> str | None:
    """The worker's bronze file of the unit whose silver file this is; None for one document."""
    found = parse_silver_key(silver_key)
    if found is None or not found[1]:
        return None
    millis = uuid.UUID(found[0]).int >> 80
    return unit_bronze_key(clock.to_text(clock.from_millis(millis)), found[0])


def parse_unit_key(key: str) -> str | None:
    """The id of the unit of a bronze key; None for any other key."""
    match = _match(_UNIT_KEY, key)
    return match["id"] if match and not match["rejected"] else None


def parse_unit(key: str) -> tuple[str, str]:
    """(id, day as `yyyy-mm-dd`) of the unit of a bronze key; ValueError for any other key."""
    match = _match(_UNIT_KEY, key)
    if match is None or match["rejected"]:
        raise ValueError("not the key of a unit")
    return match["id"], match["day"].replace("/", "-")


def rejected_unit_key(received_at: str, unit_id: str) -> str:
    """`bronze/units/<yyyy>/<mm>/<dd>/<unitId>.rejected.ndjson`: the refused items of a batch."""
    return unit_bronze_key(received_at, f"{unit_id}.rejected")


def is_rejected_unit(key: str) -> bool:
    """Whether a bronze key is of the refused items of a batch."""
    match = _match(_UNIT_KEY, key)
    return match is not None and match["rejected"] is not None


def to_metadata(event: Event, rejected: str | None = None) -> dict[str, str]:
    """The metadata of an event's payload; `rejected` is the code of its refusal, if any."""
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
    """Whether S3 has room for the event's metadata."""
    metadata = to_metadata(event)
    return sum(len(name) + len(value) for name, value in metadata.items()) <= MAX_BYTES


def from_metadata(
    metadata: Mapping[str, str], named: tuple[str, str], key: str, size: int, content_type: str
) -> Event | None:
    """The event of an object; `named` is the (event type, event id) of its `key`. None when ingest
    did not write the object, or its payload was refused."""
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


def _match(pattern: str, key: str) -> re.Match[str] | None:
    match = re.fullmatch(pattern, key)
    return match if match and is_event_id(match["id"]) else None


def _segment(event_type: str) -> str:
    """An event type as one segment of a key, which is never `.` or `..`."""
    encoded = quote(event_type, safe="")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


def _folder(received_at: str) -> str:
    return received_at[:10].replace("-", "/")


def _silver_folder(event_type: str, received_at: str) -> str:
    return f"silver/{_segment(event_type)}/dt={received_at[:10]}"
