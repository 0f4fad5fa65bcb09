"""The media types that the API reads and answers with."""

import re

JSON = "application/json"
PROBLEM = "application/problem+json"
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"
SCHEMA = "application/schema+json"
_CHARSET = r'\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?'


def is_in_utf8(content_type: str, media_type: str) -> bool:
    """Whether a Content-Type is this media type, with no other parameter than UTF-8."""
    given = content_type.strip()
    if given[: len(media_type)].lower() != media_type:
        return False
    parameters = given[len(media_type) :]
    return re.fullmatch(_CHARSET, parameters, flags=re.IGNORECASE) is not None


def is_json_in_utf8(content_type: str) -> bool:
    """Whether a Content-Type is JSON in UTF-8."""
    return is_in_utf8(content_type, JSON)
