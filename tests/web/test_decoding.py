"""From requests to what the verbs take."""

import json

import pytest

from chalicelib.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from chalicelib.core.paging import NEWEST, OLDEST, encode_cursor
from chalicelib.events.api import decode_listing, decode_submission, wants_cloud_event
from chalicelib.events.model import Identity, Listing, Status
from chalicelib.tokens import api as tokens
from chalicelib.tokens.model import Token
from chalicelib.web.callers import Caller
from chalicelib.web.request import DEFAULT_LIMIT, Request
from tests.support.factories import make_body, make_id
from tests.support.fake_stores import FakeAws, FakeTokenStore

ALICE = Caller("alice", frozenset({"events:read"}), "t")
ADMIN = Caller("root", frozenset({"admin"}), "t")


def call(
    query: dict[str, list[str]] | None = None,
    *,
    caller: Caller = ALICE,
    body: bytes = b"",
    **headers: str,
) -> Request:
    """A request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(caller, "request", named, query or {}, body)


def listing_of(request: Request) -> tuple[Listing, str | None]:
    """What `GET /events` asks for."""
    page = request.page("eventType", "status", "from", "to")
    return decode_listing(page, request.caller.sees_only), page.below


def test_a_submission_is_the_body_as_it_is() -> None:
    body = make_body()
    submission = decode_submission(
        call(body=body, content_type="Application/JSON; charset=UTF-8", idempotency_key="k")
    )
    assert submission.payload is body
    assert submission.content_type == "application/json"
    assert (submission.owner, submission.request_id) == ("alice", "request")
    assert submission.read().identity == Identity("idempotency", "k")


def test_no_key_is_no_identity() -> None:
    submission = decode_submission(call(body=make_body()))
    assert submission.read().identity is None


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\nb", "a\x00", "\x7f"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_submission(call(body=make_body(), idempotency_key=key))
    assert caught.value.errors[0].pointer == "/header/Idempotency-Key"


STRUCTURED = b'{"specversion":"1.0","id":"1","source":"/shop","type":"order","data":{"n":1}}'


def test_a_cloud_event_is_known_by_its_media_type() -> None:
    submission = decode_submission(
        call(body=STRUCTURED, content_type="Application/CloudEvents+JSON; charset=utf-8")
    )
    draft = submission.read()
    assert submission.content_type == draft.content_type == "application/cloudevents+json"
    assert (draft.event_type, draft.data) == ("order", {"n": 1})
    assert draft.identity == Identity("cloudevents", "/shop\x001")


def test_a_cloud_event_is_known_by_its_headers() -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order"}
    request = Request(ALICE, "request", {**headers, "content-type": "text/plain"}, {}, b"hello")
    draft = decode_submission(request).read()
    assert (draft.event_type, draft.data, draft.payload) == ("order", "hello", b"hello")
    assert draft.identity == Identity("cloudevents", "/shop\x001")


def test_a_key_in_the_header_goes_before_that_of_a_cloud_event() -> None:
    submission = decode_submission(
        call(body=STRUCTURED, content_type="application/cloudevents+json", idempotency_key="k")
    )
    assert submission.read().identity == Identity("idempotency", "k")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/cloudevents+json", True),
        ("text/html, Application/CloudEvents+JSON;q=0.9", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_a_cloud_event_is_answered_to_who_asks_for_one(accept: str, wanted: bool) -> None:
    assert wants_cloud_event(call(accept=accept)) is wanted


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=utf-16", "application/json; a", "json", ";"],
)
def test_a_submission_in_another_format_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        decode_submission(call(content_type=content_type))


def test_a_listing_without_a_query_is_the_callers_newest() -> None:
    listing, resume = listing_of(call())
    assert (listing.owner, listing.limit, resume) == ("alice", DEFAULT_LIMIT, None)
    assert (listing.start, listing.end) == (OLDEST, NEWEST)
    assert (listing.event_type, listing.status) == (None, None)


def test_an_admins_listing_is_everyones() -> None:
    assert listing_of(call(caller=ADMIN))[0].owner is None


def test_a_listing_takes_every_filter() -> None:
    list_key = f"2026-03-14T12:00:00.000Z#{make_id()}"
    query = {
        "eventType": ["order.created"],
        "status": ["FAILED"],
        "from": ["2026-03-14"],
        "to": ["2026-03-14T13:00:00 01:00"],
        "limit": ["7"],
        "cursor": [encode_cursor(list_key)],
    }
    listing, resume = listing_of(call(query))
    assert (listing.event_type, listing.status) == ("order.created", Status.FAILED)
    assert listing.start == "2026-03-14T00:00:00.000Z"
    assert listing.end == "2026-03-14T12:00:00.000Z"
    assert (listing.limit, resume) == (7, list_key)


def test_every_unknown_parameter_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        listing_of(call({"a": ["1"], "limit": ["1", "2"], "b": ["2"]}))
    assert [(fault.pointer, fault.detail) for fault in caught.value.errors] == [
        ("/query/a", "is not known here"),
        ("/query/limit", "comes twice"),
        ("/query/b", "is not known here"),
    ]


def test_a_token_is_issued_as_it_was_ordered() -> None:
    body = b'{"owner":"bob","scopes":["events:read","admin"],"expiresAt":"2126-03-14T13:00+01:00"}'
    response = tokens.post_token(call(body=body), FakeTokenStore(FakeAws()))
    token = json.loads(response.body)
    assert token["owner"] == "bob"
    assert token["scopes"] == ["events:read", "admin"]
    assert token["expiresAt"] == "2126-03-14T12:00:00.000Z"


def test_a_token_that_has_expired_is_not_issued() -> None:
    aws = FakeAws()
    body = b'{"owner":"bob","scopes":["admin"],"expiresAt":"2026-03-14T12:00:00Z"}'
    with pytest.raises(InvalidRequestError) as caught:
        tokens.post_token(call(body=body), FakeTokenStore(aws))
    assert [fault.pointer for fault in caught.value.errors] == ["/expiresAt"]
    assert aws.tokens == {}


def test_a_page_of_tokens_goes_on_after_an_id() -> None:
    asked: list[tuple[int, str | None]] = []

    class Store(FakeTokenStore):
        def page(self, limit: int, after: str | None) -> tuple[list[Token], str | None]:
            asked.append((limit, after))
            return [], None

    store = Store(FakeAws())
    tokens.list_tokens(call(), store)
    tokens.list_tokens(call({"limit": ["3"], "cursor": ["abc123"]}), store)
    assert asked == [(DEFAULT_LIMIT, None), (3, "abc123")]
