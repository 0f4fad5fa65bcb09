"""CloudEvents 1.0.2 over HTTP in the binary mode: attributes in headers, data in the body.

HTTP protocol binding, section 3.1. Header values are unquoted, then percent-decoded once
(section 3.1.3.2). Every value is a string: the binding carries no other type.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from chalicelib.core.errors import FieldError, InvalidJsonError
from chalicelib.core.media_types import JSON
from chalicelib.core.strict_json import parse_json
from chalicelib.events.cloudevents import (
    REQUIRED,
    context_faults,
    escape,
    make_draft,
    read_content,
    refuse,
)
from chalicelib.events.model import Draft, Identity

PREFIX = "ce-"
_FORMATS = "application/cloudevents"
_BAD_PERCENT = r"%(?![0-9A-Fa-f]{2})"
_QUOTED = r'(?s)"((?:[^"\\]|\\.)*)"'
_ESCAPED = r"(?s)\\(.)"


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether a request is a CloudEvent in binary mode: it has one of the required attributes as a
    header, and its Content-Type does not name an event format, which would make it structured or
    batched whatever else it carries (section 3)."""
    names = {name.lower() for name in headers}
    is_other_mode = _content_type(headers).lower().startswith(_FORMATS)
    return not is_other_mode and any(PREFIX + name in names for name in REQUIRED)


def read_binary(
    headers: Mapping[str, str],
    body: bytes,
    identity: Identity | None = None,
    repeated: Collection[str] = (),
) -> Draft:
    """The event of `headers` (names in lower case) and `body`, which is its payload; `repeated` are
    the headers that came more than once, which no attribute may.

    The Content-Type header is `datacontenttype` and the draft's content type. Without one there
    is no datacontenttype, and as the specification's own SDKs do, a body that is JSON counts as
    JSON (SDKs send none for their default), any other as bytes. Raises `InvalidRequestError` with
    every fault, of a header at `/header/<name>`; `InvalidJsonError` if the body alone is at fault.
    """
    attributes, faults = _attributes(headers, repeated)
    found = {fault.pointer for fault in faults}
    faults += [one for one in context_faults(attributes, _place) if one.pointer not in found]
    content_type = attributes.get("datacontenttype") or _guess(body)
    try:
        data = read_content(content_type, body)
    except InvalidJsonError as error:
        if faults:
            refuse([*faults, *error.errors])
        raise
    refuse(faults)
    return make_draft(attributes, body, content_type, data, identity)


def _attributes(
    headers: Mapping[str, str], repeated: Collection[str]
) -> tuple[dict[str, Any], list[FieldError]]:
    """The attributes that could be decoded, and what is wrong with the rest."""
    attributes: dict[str, Any] = {}
    faults: list[FieldError] = []
    content_type = _content_type(headers)
    if content_type.lower().startswith(_FORMATS):
        detail = "names an event format, which binary mode does not use"
        faults.append(FieldError("/header/content-type", detail))
    if "content-type" in repeated:
        faults.append(FieldError("/header/content-type", "comes twice"))
    if content_type:
        attributes["datacontenttype"] = content_type
    for header, value in headers.items():
        name = header.lower().removeprefix(PREFIX)
        if not header.lower().startswith(PREFIX):
            continue
        try:
            if name == "datacontenttype":
                raise ValueError("must not be sent: the Content-Type header is this attribute")
            if name in attributes or header.lower() in repeated:
                raise ValueError("comes twice")
            attributes[name] = _decode_value(value)
        except ValueError as error:
            faults.append(FieldError(f"/header/{PREFIX}{escape(name)}", str(error)))
    return attributes, faults


def _decode_value(value: str) -> str:
    """The text that a header's value stands for (section 3.1.3.2); ValueError says what is wrong
    with it. Spaces that earlier versions of the binding let pass are read too."""
    if not value.isascii():
        raise ValueError("must be ASCII, with other characters percent-encoded as UTF-8")
    text = value.strip(" \t")
    if '"' in re.sub(_QUOTED, "", text):
        raise ValueError("has a double quote without its counterpart")
    text = re.sub(_QUOTED, lambda quoted: re.sub(_ESCAPED, r"\1", quoted[1]), text)
    if re.search(_BAD_PERCENT, text):
        raise ValueError("has a percent sign that two hexadecimal digits do not follow")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise ValueError("percent-encodes what is not UTF-8") from error


def _content_type(headers: Mapping[str, str]) -> str:
    values = (value for header, value in headers.items() if header.lower() == "content-type")
    return next(values, "").strip(" \t")


def _guess(body: bytes) -> str:
    try:
        parse_json(body)
    except InvalidJsonError:
        return "application/octet-stream"
    return JSON


def _place(name: str) -> str:
    return "/header/content-type" if name == "datacontenttype" else f"/header/{PREFIX}{name}"
