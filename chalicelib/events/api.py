"""TO DO"""

from chalice.app import Response

from chalicelib.core.metrics import note
from chalicelib.events.ingest import Receipt
from chalicelib.web.api import answer


def accepted(receipt: Receipt) -> Response:
    """202: the event is kept. `Idempotent-Replayed` says that it was kept before."""
    note(eventId=receipt.event_id)
    headers = {"Location": f"/events/{receipt.event_id}"}
    if receipt.replayed:
        headers["Idempotent-Replayed"] = "true"
    return answer({"status": "accepted", "eventId": receipt.event_id}, 202, headers)
