"""From requests about uploads to the values that services take."""

from chalicelib.core.errors import FieldError, InvalidRequestError
from chalicelib.core.strict_json import parse_json
from chalicelib.uploads.model import (
    DEFAULT_CONTENT_TYPE,
    UploadOrder,
    content_type_fault,
    filename_fault,
)
from chalicelib.web.api import Call
from chalicelib.web.parse import read_cursor, read_limit, single_values


def decode_upload_order(call: Call, most: int) -> UploadOrder:
    """`POST /uploads`: `{"filename", "contentType"?, "maxBytes"?}`; `most` bytes unless said."""
    body = parse_json(call.body)
    if not isinstance(body, dict):
        raise InvalidRequestError.at("", "must be a JSON object")
    filename = body.get("filename", "")
    content_type = body.get("contentType", DEFAULT_CONTENT_TYPE)
    max_bytes = body.get("maxBytes", most)
    is_number = isinstance(max_bytes, int) and not isinstance(max_bytes, bool)
    in_range = is_number and 1 <= max_bytes <= most
    found = {
        "/filename": filename_fault(filename),
        "/contentType": content_type_fault(content_type),
        "/maxBytes": None if in_range else f"must be a whole number, 1 to {most}",
    }
    faults = [FieldError(pointer, fault) for pointer, fault in found.items() if fault]
    faults += [
        FieldError(f"/{name}", "is not known here")
        for name in body.keys() - {"filename", "contentType", "maxBytes"}
    ]
    if faults:
        raise InvalidRequestError("the upload can not be offered", faults)
    return UploadOrder(filename, content_type, max_bytes)


def decode_upload_page(call: Call) -> tuple[int, str | None]:
    """`GET /uploads`: (page size, the list key to go on below)."""
    query = single_values(call.query, ("limit", "cursor"))
    return read_limit(query), read_cursor(query)
