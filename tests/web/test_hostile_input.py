"""What nobody sends by mistake: every answer is a problem below 500, and what an authenticated
sender sent in a body that was refused for its content is kept (promise 4)."""

import json
from typing import Any

import pytest
from chalice.app import AuthRequest
from chalice.test import HTTPResponse

import app
from chalicelib.core import clock
from chalicelib.core.paging import encode_cursor
from chalicelib.tokens.model import format_token, hash_secret
from chalicelib.web.callers import SCOPES
from chalicelib.web.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES
from tests.support.app_on_moto import NAMES, Platform, Sender, sample
from tests.support.factories import LambdaContext, make_id, unique
from tests.support.hostile_input import BAD_EVENTS, BAD_JSON, CONTEXT, ODD_TYPES
from tests.support.problems import MEMBERS, check_headers, check_problem

EVERYTHING = tuple(scope for scope in SCOPES if scope != "admin")


def check_refused(response: HTTPResponse) -> Any:
    """A problem that is the sender's, with all that a problem has; its body."""
    assert 400 <= response.status_code < 500, response.body
    check_headers(response)
    assert response.headers["Content-Type"] == "application/problem+json"
    body = json.loads(response.body)
    assert body.keys() - {"errors", "eventId"} == MEMBERS
    assert body["requestId"] == response.headers["X-Request-Id"]
    assert body["status"] == response.status_code
    assert len(response.body) < 10_000
    return body


def check_kept(sender: Sender, body: bytes, event_id: str) -> None:
    """A refused body is listed, with the reason, and given back byte for byte."""
    rejected = sender.get("/events?status=REJECTED").json_body["items"]
    (found,) = [item for item in rejected if item["eventId"] == event_id]
    assert found["lastError"]["message"]
    payload = sender.get(f"/events/{event_id}/payload")
    assert payload.status_code == 200
    assert payload.body == body
    other = Sender(sender._client, "nobody", sender.token)
    assert other.get(f"/events/{event_id}").json_body["status"] == "REJECTED"


@pytest.mark.parametrize("name", [*BAD_JSON, *BAD_EVENTS])
def test_a_bad_event_is_refused_and_kept(platform: Platform, name: str) -> None:
    # Given a sender, and another
    body = (BAD_JSON | BAD_EVENTS)[name]
    sender = platform.sender()
    # When the body is sent twice
    first, second = (check_refused(sender.post("/events", body)) for _ in range(2))
    # Then it is refused for its content, and kept once
    assert first["status"] == 400
    assert first["eventId"] == second["eventId"]
    check_kept(sender, body, first["eventId"])
    assert len(sender.get("/events").json_body["items"]) == 1
    # And nobody else sees it, and the worker never does
    assert platform.sender().get(f"/events/{first['eventId']}").status_code == 404
    assert platform.receive() == []


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_bad_cloud_event_is_refused_and_kept(platform: Platform, name: str) -> None:
    body = BAD_JSON[name].replace(b'"eventType":"demo"', CONTEXT)
    sender = platform.sender()
    headers = {"Content-Type": "application/cloudevents+json"}
    refused = check_refused(sender.call("POST", "/events", body, headers))
    assert refused["status"] == 400
    check_kept(sender, body, refused["eventId"])
    assert platform.receive() == []


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/items"),
        ("PUT", f"/items/{make_id()}"),
        ("POST", "/subscriptions"),
        ("POST", "/uploads"),
        ("POST", "/tokens"),
        ("PUT", "/schemas/demo"),
    ],
)
def test_bad_json_is_refused_everywhere(
    platform: Platform, method: str, path: str, name: str
) -> None:
    sender = platform.sender("admin")
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    check_refused(sender.call(method, path, BAD_JSON[name], headers))


@pytest.mark.parametrize("path", ["/items", "/subscriptions", "/uploads", "/tokens"])
@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true", b'{"a":{"b":[{}]}}'])
def test_json_of_another_shape_is_refused_or_is_an_item(
    platform: Platform, path: str, body: bytes
) -> None:
    response = platform.sender("admin").post(path, body)
    if (path, body[:1]) != ("/items", b"{"):
        check_refused(response)


@pytest.mark.parametrize("field", ["owner", "scopes", "expiresAt"])
@pytest.mark.parametrize(
    "value", [None, True, 1, -1, 10**300, "", "x" * 5000, "a\r\nb: c", [], [[]], {}, "\ud800"]
)
def test_every_field_of_an_order_takes_anything(platform: Platform, field: str, value: Any) -> None:
    order = {"owner": "me", "scopes": ["events:read"], "expiresAt": "2999-01-01T00:00:00Z"}
    response = platform.sender("admin").post("/tokens", {**order, field: value})
    # No expiry is the one value among them that may be
    if (field, value) == ("expiresAt", None):
        assert response.status_code == 201
    else:
        check_refused(response)


@pytest.mark.parametrize("event_type", ODD_TYPES)
def test_an_odd_type_never_leaves_its_place(platform: Platform, event_type: str) -> None:
    # When an event of that type is sent and processed
    sender = platform.sender(*EVERYTHING)
    body = json.dumps({"eventType": event_type, "n": unique("n")}).encode()
    event_id = sender.event_id(body)
    platform.work()
    # Then it is processed under its own name
    record = sender.get(f"/events/{event_id}").json_body
    assert (record["status"], record["eventType"]) == ("PROCESSED", event_type)
    assert sender.get(f"/events/{event_id}/payload").body == body
    # And lies where events lie, at the depth that they have
    bronze, silver = record["s3Key"].split("/"), record["silverKey"].split("/")
    assert (bronze[0], silver[0]) == ("bronze", "silver")
    assert (len(bronze), len(silver)) == (6, 4)
    for part in (*bronze, *silver):
        assert part not in ("", ".", "..")
        assert part.isascii()
        assert part.isprintable()
    check_headers(sender.get(f"/events/{event_id}"))


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/html",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "json",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json, text/html",
        "application/json\x00",
        "a" * 2000,
        "application/json" + ";" * 2000 + "x",
        "/",
    ],
)
@pytest.mark.parametrize("path", ["/events", "/items"])
def test_another_content_type_is_not_read(platform: Platform, path: str, content_type: str) -> None:
    sender = platform.sender("admin")
    headers = {"Content-Type": content_type}
    response = sender.call("POST", path, b'{"eventType":"demo"}', headers)
    check_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "Application/JSON"},
        {"CONTENT-TYPE": "application/json; charset=UTF-8"},
        {"content-type": 'application/json;charset="utf-8"'},
    ],
)
def test_json_by_any_of_its_names_is_read(platform: Platform, headers: dict[str, str]) -> None:
    sender = platform.sender("admin")
    body = b'{"eventType":"demo"}'
    assert sender.call("POST", "/events", body, headers).status_code == 202
    assert sender.call("POST", "/items", body, headers).status_code == 201


@pytest.mark.parametrize("size", [MAX_BODY_BYTES, 10 * 1024 * 1024])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/events"),
        ("POST", "/events/batch"),
        ("POST", "/items"),
        ("PUT", f"/items/{make_id()}"),
        ("POST", "/subscriptions"),
        ("POST", "/uploads"),
        ("POST", "/tokens"),
        ("PUT", "/schemas/demo"),
        ("POST", "/webhooks/github"),
        ("POST", "/webhooks/unknown"),
    ],
)
def test_a_huge_body_is_refused_before_it_is_read(
    platform: Platform, method: str, path: str, size: int
) -> None:
    sender = platform.sender("admin")
    platform.calls.clear()
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    response = sender.call(method, path, b'{"a":"' + b"x" * size + b'"}', headers)
    check_problem(response, 413, "payload-too-large")
    assert platform.calls == ["GetItem"] * (not path.startswith("/webhooks"))


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/subscriptions"), ("POST", "/uploads"), ("POST", "/tokens"), ("GET", "/events")],
)
def test_an_order_is_short(platform: Platform, method: str, path: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = b" " * (64 * 1024) + b"{}"
    response = platform.sender("admin").call(method, path, body, headers)
    check_problem(response, 413, "payload-too-large")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Long": "x" * MAX_HEADER_BYTES},
        {f"X-{number}": "x" * 100 for number in range(100)},
        {"x" * MAX_HEADER_BYTES: "1"},
        {"X-Long": "ü" * (MAX_HEADER_BYTES // 2)},
    ],
    ids=["long", "many", "name", "bytes"],
)
def test_headers_beyond_the_gateways_limit_are_refused(
    platform: Platform, headers: dict[str, str]
) -> None:
    sender = platform.sender("admin")
    check_problem(sender.call("GET", "/events", headers=headers), 431, "headers-too-large")
    public = platform.client.http.get("/health", headers=headers)
    check_problem(public, 431, "headers-too-large")


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": "a\r\nX-Injected: 1"},
        {"Idempotency-Key": "ключ"},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 256},
        {"Idempotency-Key": "\x00"},
        {"ce-id": "a\r\nb", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0"},
        {"ce-id": "%0d%0aX: y", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0"},
        {"ce-id": "%", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0"},
        {"ce-id": "1", "ce-source": "/s", "ce-type": "../..%2f", "ce-specversion": "9"},
        {"ce-specversion": "1.0"},
    ],
    ids=repr,
)
def test_hostile_headers_are_refused_and_come_back_nowhere(
    platform: Platform, headers: dict[str, str]
) -> None:
    response = platform.sender().post(
        "/events", b'{"eventType":"demo"}', **{k.replace("-", "_"): v for k, v in headers.items()}
    )
    check_refused(response)
    assert "X-Injected" not in response.headers
    assert all("\r" not in str(v) and "\n" not in str(v) for v in response.headers.values())


@pytest.mark.parametrize(
    "etag", ["", "x", '"', "W/" * 1000, "*, *", '"1", "2"' * 200, "\r\n", '"٣"', "-1", '"-1"']
)
def test_hostile_conditions_are_refused_or_ignored(platform: Platform, etag: str) -> None:
    sender = platform.sender("admin")
    item_id = sender.post("/items", {"a": 1}).json_body["itemId"]
    headers = {"Content-Type": "application/json", "If-Match": etag}
    check_refused(sender.call("PUT", f"/items/{item_id}", b'{"a":2}', headers))
    check_refused(sender.call("DELETE", f"/items/{item_id}", b"", headers))
    known = sender.call("GET", f"/items/{item_id}", headers={"If-None-Match": etag})
    assert known.status_code in (200, 304, 400)


def is_refused(platform: Platform, authorization: str) -> bool:
    """Whether the authorizer says the one word that the gateway turns into a 401."""
    request = AuthRequest(
        "TOKEN", authorization, "arn:aws:execute-api:us-east-1:1:a/api/GET/events"
    )
    try:
        app.authorize.func(request)
    except Exception as error:  # noqa: BLE001 - the gateway knows it by its text only
        return str(error) == "Unauthorized"
    return False


LONG_TOKEN = "evl_" + "a" * 100_000


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        f"Bearer {LONG_TOKEN}",
        LONG_TOKEN,
        "Bearer " + "a" * 300,
        "Bearer evl_x_y",
        "Bearer evl__" + "0" * 64,
        f"Bearer evl_{'0' * 16}_{'0' * 64}",
        f"Bearer evl_{'0' * 33}_{'0' * 64}",
        f"Bearer evl_{'0' * 16}_{'0' * 65}",
        f"Bearer evl_{'0' * 16}_{'0' * 64}\r\nX: y",
        f"Basic evl_{'0' * 16}_{'0' * 64}",
        "Bearer ☃",
        "Bearer \x00",
        "Bearer null",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_token_gets_nobody_in(platform: Platform, authorization: str) -> None:
    platform.calls.clear()
    assert is_refused(platform, authorization)
    # A text that cannot be a token is not even looked up
    well_formed = authorization == f"Bearer evl_{'0' * 16}_{'0' * 64}"
    assert platform.calls == ["GetItem"] * well_formed


def test_a_token_of_another_stage_or_with_another_secret_gets_nobody_in(
    platform: Platform,
) -> None:
    # Given a token, of which this stage knows another secret
    sender = platform.sender("admin")
    _, token_id, secret = sender.token.split("_")
    assert sender.get("/events").status_code == 200
    other = format_token(token_id, hash_secret(secret))
    # And tokens that differ from it in one place
    flipped = [
        format_token(token_id, secret[:n] + ("0" if secret[n] != "0" else "1") + secret[n + 1 :])
        for n in range(len(secret))
    ]
    # Then none is any good, nor is what is stored of the right one
    for text in (other, *flipped, sender.token.upper(), sender.token[:-1], sender.token + "0"):
        assert is_refused(platform, f"Bearer {text}")


def test_every_tampered_cursor_is_refused_or_shows_no_more_than_before(
    platform: Platform,
) -> None:
    # Given two owners' events, and a cursor in the list of one
    alice, bob = platform.sender(owner=unique("alice")), platform.sender(owner=unique("bob"))
    mine = {alice.event_id({"eventType": "demo", "n": n}) for n in range(3)}
    for n in range(3):
        bob.event_id({"eventType": "demo", "n": n})
    cursor = alice.get("/events?limit=1").json_body["cursor"]
    # When every byte of it is changed, and it is cut and lengthened
    letters = "Az09-_%"
    tampered = [cursor[:n] + x + cursor[n + 1 :] for n in range(len(cursor)) for x in letters]
    tampered += [cursor[:n] for n in range(0, len(cursor), 7)] + [cursor + "A", cursor + "="]
    tampered += [encode_cursor(text) for text in ("", "~", "0", "EVENT#x", f"{'9' * 24}#x")]
    refused = 0
    for text in tampered:
        response = alice.get(f"/events?limit=3&cursor={text}")
        # Then it is refused, or shows what alice has anyway
        if response.status_code == 200:
            assert {item["eventId"] for item in response.json_body["items"]} <= mine
        else:
            refused += text != cursor
            check_refused(response)
    assert refused > len(tampered) / 4


@pytest.mark.parametrize("path", ["/events", "/items", "/subscriptions", "/uploads", "/alerts"])
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1e9",
        "limit=" + "9" * 500,
        "limit=%D9%A3",
        "limit=1.0",
        "limit=+5",
        "limit=",
        "limit=NaN",
        "limit=1&limit=2",
        "cursor=",
        "cursor=%00",
        "cursor=" + "A" * 2000,
        "cursor=..%2F..",
        "cursor=%F0%9F%92%A5",
        "cursor=a&cursor=b",
        "unknown=1",
        "x" * 2000 + "=1",
        "&".join(f"a{n}=1" for n in range(60)),
        "limit[]=5",
        "__proto__=1",
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_query_is_refused(platform: Platform, path: str, query: str) -> None:
    check_refused(platform.sender("admin").get(f"{path}?{query}"))


def test_a_parameter_that_is_too_long_is_named(platform: Platform) -> None:
    sender, long = platform.sender("admin"), "x" * 1025
    platform.calls.clear()
    for path, pointer in (
        (f"/events/{long}", "/path/event_id"),
        (f"/schemas/{long}", "/path/event_type"),
        (f"/events?cursor={long}", "/query/cursor"),
    ):
        check_problem(sender.get(path), 400, "invalid-request", pointer)
    assert set(platform.calls) == {"GetItem"}


@pytest.mark.parametrize(
    "query",
    [
        "status=processed",
        "status=REJECTED%00",
        "eventType=",
        "eventType=%0d%0a",
        "eventType=" + "x" * 1000,
        "from=yesterday",
        "from=0000-00-00",
        "from=9999-12-31T23:59:59-23:59",
        "to=2026-02-30",
        "to=" + "x" * 1000,
        "from=%F0%9F%92%A5",
        "to=%EF%BC%92026-01-01",
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_filter_is_refused(platform: Platform, query: str) -> None:
    check_refused(platform.sender().get(f"/events?{query}"))


@pytest.mark.parametrize(
    "segment",
    [
        "..%2f..%2fetc",
        "%2e%2e",
        "%00",
        "%0d%0aX:y",
        "x" * 1000,
        "x" * 5000,
        "EVENT%23x",
        "%F0%9F%92%A5",
        "%ff",
        "null",
        "*",
        "-1",
        "' or 1=1 --",
        make_id().upper(),
        make_id() + "%00",
        make_id()[:-1],
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/events/{}"),
        ("GET", "/events/{}/payload"),
        ("GET", "/events/{}/result"),
        ("POST", "/events/{}/replay"),
        ("GET", "/items/{}"),
        ("PUT", "/items/{}"),
        ("DELETE", "/items/{}"),
        ("DELETE", "/subscriptions/{}"),
        ("DELETE", "/tokens/{}"),
        ("GET", "/schemas/{}"),
        ("POST", "/webhooks/{}"),
    ],
)
def test_a_hostile_id_is_no_id(platform: Platform, method: str, path: str, segment: str) -> None:
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    body = b'{"a":1}' if method in ("PUT", "POST") else b""
    sender = platform.sender("admin")
    check_refused(sender.call(method, path.format(segment), body, headers))


@pytest.mark.parametrize("body", ["!!!", "AAA", "\ud800", "a=b", "é"])
def test_a_body_that_is_no_base64_is_refused(platform: Platform, body: str) -> None:
    event = sample("api_gateway_post_event")
    event |= {"body": body, "isBase64Encoded": True}
    answer = app.app(event, LambdaContext())
    assert 400 <= answer["statusCode"] < 500
    assert json.loads(answer["body"])["requestId"] == answer["headers"]["X-Request-Id"]


def test_an_expired_token_gets_nobody_in(platform: Platform) -> None:
    # Given a token that was good until a moment ago
    sender = platform.sender("admin")
    token_id = sender.token.split("_")[1]
    assert sender.get("/events").status_code == 200
    platform.aws("dynamodb").update_item(
        TableName=NAMES.tokens_table,
        Key={"pk": {"S": f"TOKEN#{token_id}"}},
        UpdateExpression="SET expiresAt = :now",
        ExpressionAttributeValues={":now": {"S": clock.to_text(clock.utc_now())}},
    )
    # Then it is refused
    assert is_refused(platform, f"Bearer {sender.token}")
