"""From requests about alerts to the values that services take."""

from chalicelib.web.api import Call
from chalicelib.web.parse import read_cursor, read_limit, single_values


def decode_alert_page(call: Call) -> tuple[int, str | None]:
    """`GET /alerts`: (page size, the list key to go on below)."""
    query = single_values(call.query, ("limit", "cursor"))
    return read_limit(query), read_cursor(query)
