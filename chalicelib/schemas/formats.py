"""`format`, where a schema's put asked for its assertion: what differs from the validator's own.

It is strict about `date-time`, `time`, `email`, `hostname`, `ipv4`, `ipv6`, `uri`, `uri-reference`,
`iri`, `iri-reference`, `uuid`, `json-pointer` and `relative-json-pointer`; each takes time by the
byte. `date` and `duration` are ours, as it takes digits of other scripts and orders that RFC 3339
has not.
"""

import re
from collections.abc import Callable
from datetime import date

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION = re.compile(
    r"P(?=.)(?:[0-9]+W|"
    r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)?"
    r"(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?)"
)


def is_date(text: str) -> bool:
    """A full-date of RFC 3339, section 5.6."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_duration(text: str) -> bool:
    """A duration of RFC 3339, appendix A."""
    return _DURATION.fullmatch(text) is not None


def _take_any(_text: str) -> bool:
    return True


FORMATS: dict[str, Callable[[str], bool]] = {
    "date": is_date,
    "duration": is_duration,
    # Not asserted: what they cost is not known, or validators differ on them.
    "idn-email": _take_any,
    "idn-hostname": _take_any,
    "regex": _take_any,
    "uri-template": _take_any,
}
