"""The media types that the API reads and answers with.

Source: RFC 9110, sections 8.3.1 (media types) and 5.6.6 (parameters); RFC 6839, section 3.1 (the
suffix `+json`).
"""

import re

JSON = "application/json"
PROBLEM = "application/problem+json"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
SCHEMA = "application/schema+json"
FORM = "application/x-www-form-urlencoded"
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP, not a secret
_PARAMETER = rf'{TOKEN}=(?:{TOKEN}|"(?:[\t !#-\[\]-~]|\\[\t -~])*")'
MEDIA_TYPE = rf"({TOKEN}/{TOKEN})((?:[ \t]*;(?:[ \t]*{_PARAMETER})?)*[ \t]*)"
_CHARSET = rf'(?i);[ \t]*charset=(?:"([^"]*)"|({TOKEN}))'
_UTF_8 = ("utf-8", "utf8", "us-ascii")
_OF_CLOUD_EVENTS = "application/cloudevents"


def type_in_utf8(content_type: str) -> str | None:
    """`type/subtype` of a Content-Type, in lower case; None for a malformed one, and for one that
    names another character set than UTF-8 or the part of it that is ASCII. Other parameters are
    ignored."""
    match = re.fullmatch(MEDIA_TYPE, content_type.strip(" \t"))
    if match is None:
        return None
    charsets = re.findall(_CHARSET, match[2])
    is_utf8 = all((quoted or plain).lower() in _UTF_8 for quoted, plain in charsets)
    return match[1].lower() if is_utf8 else None


def is_in_utf8(content_type: str, media_type: str) -> bool:
    """Whether a Content-Type is this media type, in UTF-8."""
    return type_in_utf8(content_type) == media_type


def is_json_in_utf8(content_type: str) -> bool:
    """Whether a Content-Type is JSON in UTF-8: `application/json`, `text/json` or any other
    `+json`; not the formats of CloudEvents, which are more than JSON."""
    given = type_in_utf8(content_type) or ""
    is_json = given in (JSON, "text/json") or given.endswith("+json")
    return is_json and not given.startswith(_OF_CLOUD_EVENTS)
