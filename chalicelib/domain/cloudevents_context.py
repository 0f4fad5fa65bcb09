"""The context attributes of a CloudEvent: what each may be, whichever mode it came in.

CloudEvents 1.0.2, "Context Attributes", "Type System" and "Naming Conventions". Faults are
collected, not raised: a sender is told all of them at once.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.drafts import Draft, Identity
from chalicelib.domain.events import MAX_NAME_BYTES, MAX_TYPE_BYTES, name_fault
from chalicelib.domain.payloads import dump_json
from chalicelib.errors import FieldError

SPEC_VERSION = "1.0"
REQUIRED = ("specversion", "id", "source", "type")
MAX_CONTEXT_BYTES = 1024
"""Limit of a draft's `cloud_event` as compact ASCII JSON: it is kept in the metadata of an S3
object, which hold 2,048 bytes (Amazon S3 User Guide, "Object metadata")."""
MAX_ATTRIBUTE_NAME = 64
"""The specification advises against names longer than 20 characters, but allows them."""
MAX_FAULTS = 20
"""How many faults are told: the answer must not grow with a hostile event."""
_INT32 = 2**31
_QUOTED_CHARACTERS = 20

_NAME = re.compile(r"[a-z0-9]+")
_RESERVED = frozenset({"data", "data_base64"})
# Control characters, surrogates and noncharacters: the last two code points of every plane are.
_PLANE_ENDS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANE_ENDS}]")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP, no secret
_PARAMETER = rf'{_TOKEN}=(?:{_TOKEN}|"(?:[\t !#-\[\]-~]|\\[\t -~])*")'
# RFC 9110, section 8.3.1.
MEDIA_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})((?:[ \t]*;(?:[ \t]*{_PARAMETER})?)*[ \t]*)")

# RFC 3986, appendix A.
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON = r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_NAMED_HOST = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_HOST = rf"(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]|{_NAMED_HOST})"
_USER = r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?"
_ROOTED = rf"//{_USER}{_HOST}(?::[0-9]*)?(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_ABSOLUTE = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_ROOTED}|(?:{_PCHAR}+(?:/{_PCHAR}*)*)?){_TAIL}"
_RELATIVE = rf"(?:{_ROOTED}|(?:{_NO_COLON}+(?:/{_PCHAR}*)*)?){_TAIL}"
URI = re.compile(_ABSOLUTE)
URI_REFERENCE = re.compile(rf"{_ABSOLUTE}|{_RELATIVE}")


def context_faults(attributes: Mapping[str, Any], place: Callable[[str], str]) -> list[FieldError]:
    """Everything wrong with `attributes` (those that are set; no data); `place` makes the pointer
    of an attribute's escaped name."""
    faults = [FieldError(place(name), "is required") for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        check = _CHECKS.get(name)
        fault = check(value) if check else _extension_name_fault(name) or _extension_fault(value)
        if fault:
            faults.append(FieldError(place(escape(name)), fault))
    if not faults:
        size = len(dump_json(_cloud_event(attributes)))
        if size > MAX_CONTEXT_BYTES:
            detail = (
                f"id, time, datacontenttype, dataschema and extensions take {size} bytes of ASCII"
                f" JSON together; at most {MAX_CONTEXT_BYTES} are kept"
            )
            faults.append(FieldError("", detail))
    return faults


def make_draft(
    attributes: Mapping[str, Any],
    payload: bytes,
    content_type: str,
    data: tuple[Any, bool],
    identity: Identity | None,
) -> Draft:
    """The draft of an event whose attributes have no fault. The specification's own identity,
    source and id, is used where the sender gave no key."""
    source, event_id = attributes["source"], attributes["id"]
    return Draft(
        payload=payload,
        content_type=content_type,
        event_type=attributes["type"],
        source=source,
        subject=attributes.get("subject"),
        data=data[0],
        data_is_base64=data[1],
        identity=identity or Identity("cloudevents", f"{source}\0{event_id}"),
        cloud_event=_cloud_event(attributes),
    )


def escape(name: str) -> str:
    """A name as part of a JSON Pointer (RFC 6901), cut when no attribute can be as long."""
    return name[:MAX_ATTRIBUTE_NAME].replace("~", "~0").replace("/", "~1")


def _cloud_event(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "time", "datacontenttype", "dataschema")
    context = {name: attributes[name] for name in kept if name in attributes}
    extensions = {name: value for name, value in attributes.items() if name not in _CHECKS}
    return {**context, "extensions": extensions} if extensions else context


def _version_fault(value: object) -> str | None:
    if value == SPEC_VERSION:
        return None
    named = f", not {dump_json(value[:_QUOTED_CHARACTERS])}" if isinstance(value, str) else ""
    return f'must be "{SPEC_VERSION}"{named}'


def _name_fault(value: object) -> str | None:
    return name_fault(value, MAX_NAME_BYTES)


def _type_fault(value: object) -> str | None:
    return name_fault(value, MAX_TYPE_BYTES)


def _source_fault(value: object) -> str | None:
    fault = name_fault(value, MAX_NAME_BYTES)
    if fault is None and not URI_REFERENCE.fullmatch(str(value)):
        return "must be a URI reference (RFC 3986)"
    return fault


def _schema_fault(value: object) -> str | None:
    # A fragment is let pass, though the specification's absolute URI has none: it is how one
    # schema of a document is named.
    if not isinstance(value, str) or not URI.fullmatch(value):
        return "must be an absolute URI (RFC 3986)"
    return None


def _media_type_fault(value: object) -> str | None:
    fault = name_fault(value, MAX_NAME_BYTES)
    if fault is None and not MEDIA_TYPE.fullmatch(str(value)):
        return "must be a media type (RFC 9110)"
    return fault


def _time_fault(value: object) -> str | None:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    return None if match and _is_moment(match) else "must be a timestamp (RFC 3339)"


def _is_moment(match: re.Match[str]) -> bool:
    """Whether the numbers of a timestamp can be. A second 60 is one only at the end of a month in
    UTC (RFC 3339, section 5.7)."""
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    sign, hours, minutes = match[7], int(match[8] or 0), int(match[9] or 0)
    if hours > 23 or minutes > 59 or second > 60:  # noqa: PLR2004 - a clock's numbers
        return False
    try:
        # The calendar repeats every 400 years; these lie within what datetime can hold.
        moment = datetime(2000 + year % 400, month, day, hour, minute)  # noqa: DTZ001 - moved below
    except ValueError:
        return False
    offset = timedelta(hours=hours, minutes=minutes)
    next_minute = moment + (offset if sign == "-" else -offset) + timedelta(minutes=1)
    at_month_end = (next_minute.day, next_minute.hour, next_minute.minute) == (1, 0, 0)
    return second < 60 or at_month_end  # noqa: PLR2004


def _extension_name_fault(name: str) -> str | None:
    if name in _RESERVED:
        return "is reserved for the data of an event"
    if not _NAME.fullmatch(name):
        return "an attribute's name must be of lower-case letters a-z and digits"
    if len(name) > MAX_ATTRIBUTE_NAME:
        return f"an attribute's name must have at most {MAX_ATTRIBUTE_NAME} characters"
    return None


def _extension_fault(value: object) -> str | None:
    if isinstance(value, str):
        bad = _FORBIDDEN.search(value)
        return "must be Unicode text without control characters" if bad else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -_INT32 <= value < _INT32 else "must be an integer of 32 bits"
    return "must be a string, a boolean or an integer"


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "specversion": _version_fault,
    "id": _name_fault,
    "source": _source_fault,
    "type": _type_fault,
    "subject": _name_fault,
    "time": _time_fault,
    "datacontenttype": _media_type_fault,
    "dataschema": _schema_fault,
}
