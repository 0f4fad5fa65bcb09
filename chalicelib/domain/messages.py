"""What travels on the events queue: an event's facts, and its payload when that is small.

`{"v":1,"event":{...},"payload":"...","recorded":true,"requestId":"..."}`. A message stays below
64 KB, the unit in which SQS counts requests (Amazon SQS pricing); beyond it, reading the payload
from bronze costs less than sending it along.
"""

import json
from dataclasses import dataclass

from chalicelib.domain.events import Event, sha256
from chalicelib.domain.payloads import dump_json
from chalicelib.errors import ForeignMessageError

VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True)
class EventMessage:
    """One event to process. `payload` None means: read it from bronze. `recorded` says whether the
    ledger had the ENQUEUED step when this was sent; if not, the worker adds it."""

    event: Event
    payload: bytes | None
    recorded: bool
    request_id: str

    def encode(self) -> str:
        """The message's body; without the payload if that would make it too large."""
        fields = {
            "v": VERSION,
            "event": self.event.to_dict(),
            "recorded": self.recorded,
            "requestId": self.request_id,
        }
        if self.payload is None or len(self.payload) > MAX_MESSAGE_BYTES:
            return dump_json(fields)
        whole = dump_json({**fields, "payload": self.payload.decode()})
        return whole if len(whole) <= MAX_MESSAGE_BYTES else dump_json(fields)

    @classmethod
    def decode(cls, body: str) -> "EventMessage":
        """Read a message's body; `ForeignMessageError` for anything that `encode` did not write."""
        try:
            fields = json.loads(body)
            if fields["v"] != VERSION:
                raise ForeignMessageError(f"a message of version {fields['v']!r:.20}")
            event = Event.from_dict(fields["event"])
            text = fields.get("payload")
            payload = None if text is None else text.encode()
            recorded, request_id = fields["recorded"], fields["requestId"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ForeignMessageError("not a message of this platform") from error
        if payload is not None and sha256(payload) != event.payload_sha256:
            raise ForeignMessageError("the payload is not the one that was received")
        return cls(event, payload, recorded is True, str(request_id))
