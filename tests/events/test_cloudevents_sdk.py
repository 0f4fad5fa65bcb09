"""CloudEvents with the SDKs of the specification at the other end."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.conversion import to_binary as old_to_binary
from cloudevents.v1.conversion import to_structured as old_to_structured
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from cloudevents.v1.http import from_http as old_from_http
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.media_types import CLOUD_EVENT
from chalicelib.core.strict_json import dump_json
from chalicelib.events.cloudevents import MAX_CONTEXT_BYTES, read_structured
from chalicelib.events.cloudevents_http import is_binary, read_binary
from tests.support.cloudevents import TYPE, encoded, give_back, make_headers

# What the type system lets a string hold; noncharacters are unassigned (Cn) too.
ce_texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=30)
names = st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True)
extensions = st.dictionaries(
    names, ce_texts | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=4
)


@given(extensions, st.none() | ce_texts | st.dictionaries(ce_texts, ce_texts, max_size=3))
def test_what_the_sdk_writes_is_read(
    some: dict[str, Any], data: dict[str, Any] | str | None
) -> None:
    # Given an event of the SDK, with extensions of every type
    event = CloudEvent({"type": TYPE, "source": "/shop", "id": "A-1", **some}, data)
    body = to_structured_event(event).body
    # When it fits and is read
    if len(dump_json(some)) > MAX_CONTEXT_BYTES // 2:
        return
    draft = read_structured(body)
    # Then nothing is lost
    assert draft.cloud_event is not None
    assert draft.cloud_event.get("extensions", {}) == some
    assert draft.data == data
    assert draft.cloud_event["time"] == json.loads(body)["time"]


@pytest.mark.parametrize("data", [{"a": 1}, "text", None, [1, 2]])
def test_what_the_older_sdk_writes_is_read(data: object) -> None:
    event = OldCloudEvent({"type": TYPE, "source": "/shop", "id": "A-1", "ext": "\xe9"}, data)
    headers, body = old_to_structured(event)
    draft = read_structured(body)
    assert headers["content-type"] == CLOUD_EVENT
    assert draft.data == data
    assert draft.cloud_event is not None
    assert draft.cloud_event["extensions"] == {"ext": "\xe9"}


@given(st.binary(max_size=200))
def test_what_the_sdk_writes_as_bytes_is_read(data: bytes) -> None:
    event = CloudEvent({"type": TYPE, "source": "/s", "datacontenttype": "a/b"}, data)
    draft = read_structured(to_structured_event(event).body)
    assert (draft.data, draft.data_is_base64) == (encoded(data), True)


@given(st.dictionaries(names, ce_texts, max_size=4), ce_texts.filter(str.strip))
def test_what_the_sdk_writes_in_headers_is_read(some: dict[str, str], subject: str) -> None:
    # Given an event of the SDK with any text in its extensions and subject
    event = CloudEvent(
        {"type": TYPE, "source": "/shop", "id": "A-1", "subject": subject, **some}, {"a": 1}
    )
    message = to_binary_event(event)
    assert is_binary(message.headers)
    if len(dump_json(some)) > MAX_CONTEXT_BYTES // 2 or not subject.isprintable():
        return
    # When it is read and given back
    draft = read_binary(message.headers, message.body)
    given_back = from_structured_event(HTTPMessage({"content-type": CLOUD_EVENT}, give_back(draft)))
    # Then the SDK has the event that it sent
    assert draft.cloud_event is not None
    assert draft.cloud_event.get("extensions", {}) == some
    assert given_back.get_attributes() == event.get_attributes()
    assert given_back.get_data() == {"a": 1}


@pytest.mark.parametrize("data", [{"a": 1}, [1, "\xe9"], "text", 5])
def test_what_the_older_sdk_writes_in_headers_is_read(data: Any) -> None:
    # Given the older SDK, which names no content type of its own accord and encodes no header
    event = OldCloudEvent({"type": TYPE, "source": "/shop", "id": "A-1", "subject": "a b"}, data)
    headers, body = old_to_binary(event)
    # When its event is read
    draft = read_binary(headers, body)
    # Then it is what it reads itself
    assert draft.data == data
    assert draft.subject == "a b"
    given_back = old_from_http({"content-type": CLOUD_EVENT}, give_back(draft))
    assert given_back["time"] == event["time"]
    assert given_back.data == data


@given(
    st.binary(max_size=100) | st.text(max_size=50).map(str.encode),
    st.sampled_from(["text/plain", "text/x; charset=latin-1", "image/png", "application/xml"]),
)
def test_the_sdk_reads_the_bytes_that_were_sent(body: bytes, content_type: str) -> None:
    draft = read_binary(make_headers(content_type=content_type), body)
    event = from_structured_event(HTTPMessage({"content-type": CLOUD_EVENT}, give_back(draft)))
    data = event.get_data()
    assert event.get_datacontenttype() == content_type
    assert (data.encode() if isinstance(data, str) else data or b"") == body
    assert isinstance(data, str) <= content_type.startswith("text/plain")
