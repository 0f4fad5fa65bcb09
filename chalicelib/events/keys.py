"""Where things lie in the lake. Whatever a sender puts in a type cannot leave its prefix.

What a bronze object says of its event beside the payload: enough to rebuild the ledger's entry.

S3 keeps 2,048 bytes of names and values, in ASCII (Amazon S3 User Guide, "Working with object
metadata"), so names are percent-encoded and a CloudEvent's attributes are JSON in ASCII.
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from chalicelib.core.ids import is_event_id
from chalicelib.core.strict_json import dump_json
from chalicelib.events.model import Event

_BRONZE_KEY = re.compile(
    r"bronze/(?P<event_type>[^/]+)/\d{4}/\d{2}/\d{2}/(?P<event_id>[^/]+)\.json"
)
_UNIT_KEY = re.compile(r"bronze/units/(?P<day>\d{4}/\d{2}/\d{2})/(?P<unit_id>[^/]+)\.ndjson")
_SILVER_KEY = re.compile(r"silver/[^/]+/dt=\d{4}-\d{2}-\d{2}/(?P<id>[^/]+)\.(?P<form>json|ndjson)")
_REJECTED = ".rejected.ndjson"


def bronze_key(event_type: str, received_at: str, event_id: str) -> str:
    """`bronze/<eventType>/<yyyy>/<mm>/<dd>/<eventId>.json`."""
    return f"bronze/{_segment(event_type)}/{received_at[:10].replace('-', '/')}/{event_id}.json"


def silver_key(event: Event) -> str:
    """`silver/<eventType>/dt=<yyyy-mm-dd>/<eventId>.json`."""
    day = event.received_at[:10]
    return f"silver/{_segment(event.event_type)}/dt={day}/{event.event_id}.json"


def parse_bronze_key(key: str) -> tuple[str, str] | None:
    """The (eventType, eventId) that a bronze key names; None for a key that is not one of ours."""
    match = _BRONZE_KEY.fullmatch(key)
    if match is None or not is_event_id(match["event_id"]):
        return None
    return unquote(match["event_type"]), match["event_id"]


def parse_silver_key(key: str) -> tuple[str, bool] | None:
    """(id of the event or unit, whether it is a unit) that a silver key names; None for a key that
    is not one of ours."""
    match = _SILVER_KEY.fullmatch(key)
    if match is None or not is_event_id(match["id"]):
        return None
    return match["id"], match["form"] == "ndjson"


def unit_bronze_key(received_at: str, unit_id: str) -> str:
    """`bronze/units/<yyyy>/<mm>/<dd>/<unitId>.ndjson`. An event type `units` shares the folder, but
    not the ending."""
    return f"bronze/units/{received_at[:10].replace('-', '/')}/{unit_id}.ndjson"


def unit_silver_key(event_type: str, received_at: str, unit_id: str) -> str:
    """`silver/<eventType>/dt=<yyyy-mm-dd>/<unitId>.ndjson`."""
    return f"silver/{_segment(event_type)}/dt={received_at[:10]}/{unit_id}.ndjson"


def parse_unit_key(key: str) -> str | None:
    """The id of the unit that a bronze key names; None for any other key."""
    match = _UNIT_KEY.fullmatch(key)
    return match["unit_id"] if match and is_event_id(match["unit_id"]) else None


def parse_unit(key: str) -> tuple[str, str]:
    """(id, day as `yyyy-mm-dd`) of the unit that a bronze key names; ValueError for any other."""
    match = _UNIT_KEY.fullmatch(key)
    if match is None or not is_event_id(match["unit_id"]):
        raise ValueError("not the key of a unit")
    return match["unit_id"], match["day"].replace("/", "-")


def rejected_unit_key(received_at: str, unit_id: str) -> str:
    """`bronze/units/<yyyy>/<mm>/<dd>/<unitId>.rejected.ndjson`: what a batch was refused of."""
    return unit_bronze_key(received_at, unit_id).removesuffix(".ndjson") + _REJECTED


def is_rejected_unit(key: str) -> bool:
    """Whether a bronze key is of the items that a batch was refused."""
    return parse_unit_key(f"{key.removesuffix(_REJECTED)}.ndjson") is not None and key.endswith(
        _REJECTED
    )


def _segment(event_type: str) -> str:
    """An event type as one segment of a key: percent-encoded, so that it cannot leave it."""
    encoded = quote(event_type, safe="")
    return encoded.replace(".", "%2E") if set(encoded) == {"."} else encoded


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
