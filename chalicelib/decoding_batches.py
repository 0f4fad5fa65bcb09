"""From requests with many events to what `ingest_batches` takes."""

from chalicelib.decoding import JSON_TYPE
from chalicelib.domain.batches import Form
from chalicelib.domain.drafts import JSON
from chalicelib.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.http import Call
from chalicelib.services.ingest_batches import Batch


def decode_batch(call: Call) -> Batch:
    """`POST /events/batch`: `{"events":[...]}` (no content type counts as JSON)."""
    if not JSON_TYPE.fullmatch((call.header("content-type") or JSON).strip()):
        raise UnsupportedMediaTypeError(f"a batch is sent as {JSON}, in UTF-8")
    return _batch(call, Form.PLAIN, "idempotencyKey")


def decode_cloud_events(call: Call) -> Batch:
    """`POST /events` with CloudEvents in batched mode."""
    return _batch(call, Form.CLOUD_EVENTS, "source and id")


def _batch(call: Call, form: Form, identity: str) -> Batch:
    if call.header("idempotency-key") is not None:
        # To pass it over in silence would let a sender believe that a repeat is safe.
        detail = f"is for one event; in a batch each has its own {identity}"
        raise InvalidRequestError.at("/header/Idempotency-Key", detail)
    return Batch(call.body, form, call.caller.owner, call.request_id)
