"""From requests about alerts to the values that services take."""

from chalicelib.decoding import _limit, _resume_below, _single_values
from chalicelib.http import Call


def decode_alert_page(call: Call) -> tuple[int, str | None]:
    """`GET /alerts`: (page size, the list key to go on below)."""
    query = _single_values(call.query, ("limit", "cursor"))
    return _limit(query), _resume_below(query)
