"""CloudEvents to test with, in the JSON format and as headers."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.core.errors import InvalidRequestError
from chalicelib.events.cloudevents import read_structured, to_cloud_event
from chalicelib.events.model import Draft
from tests.support.factories import make_event

TYPE = "com.example.order.placed"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def make_envelope(**members: Any) -> dict[str, Any]:
    """A CloudEvent as a JSON object; None takes a member away."""
    envelope = {"specversion": "1.0", "id": "A-1", "source": "/shop", "type": TYPE, **members}
    return {name: value for name, value in envelope.items() if value is not None}


def read(**members: Any) -> Draft:
    return read_structured(json.dumps(make_envelope(**members)).encode())


def faults_of(envelope: Mapping[str, Any] | bytes) -> dict[str, str]:
    """Pointer and detail of every fault that reading tells."""
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    with pytest.raises(InvalidRequestError) as caught:
        read_structured(body)
    assert caught.value.status == 400
    return {fault.pointer: fault.detail for fault in caught.value.errors}


def make_headers(**values: str | None) -> dict[str, str]:
    """Headers of an event; `_` stands for `-`, None takes a header away."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "A-1",
        "ce_source": "/shop",
        "ce_type": TYPE,
        "content_type": "application/json",
        **values,
    }
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def give_back(draft: Draft) -> bytes:
    """What is answered for an event that was kept of `draft`."""
    event = make_event(
        event_type=draft.event_type,
        source=draft.source,
        subject=draft.subject,
        content_type=draft.content_type,
        payload=draft.payload,
    )
    return to_cloud_event(event, draft.cloud_event, draft.payload)
