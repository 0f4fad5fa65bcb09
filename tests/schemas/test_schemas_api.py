"""PUT, GET and DELETE /schemas: versions, who may, what is refused, and what events meet."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from chalice.test import HTTPResponse

from tests.support.app_on_moto import Platform, Sender
from tests.support.problems import check_headers, check_problem

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
JSON = {"Content-Type": "application/json"}
SECONDS = 3.0


@pytest.fixture
def editor(platform: Platform) -> Sender:
    return platform.sender("schemas:write", "events:read", "events:write")


def put(sender: Sender, path: str, schema: Any, content_type: str | None = None) -> HTTPResponse:
    headers = {"Content-Type": content_type} if content_type else JSON
    body = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    return sender.call("PUT", f"/schemas/{path}", body, headers)


def test_a_schema_lives_through_versions_until_it_is_ended(editor: Sender) -> None:
    # When a schema is put
    response = put(editor, "order.created", SCHEMA)
    # Then it is version 1, shown as it is from then on
    assert response.status_code == 201, response.body
    check_headers(response)
    shown = response.json_body
    assert shown.keys() == {"eventType", "version", "schema", "createdAt"}
    assert (shown["eventType"], shown["version"]) == ("order.created", 1)
    assert shown["schema"] == SCHEMA
    assert editor.get("/schemas/order.created").json_body == shown
    # And the same again is no new version, another one is
    again = put(editor, "order.created", json.dumps(SCHEMA, indent=4).encode())
    assert (again.status_code, again.json_body) == (200, shown)
    changed = put(editor, "order.created", b"true")
    assert (changed.status_code, changed.json_body["version"]) == (201, 2)
    assert editor.get("/schemas/order.created?version=1").json_body == shown
    # Until it is ended, with its history
    ended = editor.call("DELETE", "/schemas/order.created")
    assert (ended.status_code, ended.body) == (204, b"")
    check_problem(editor.get("/schemas/order.created"), 404, "not-found")
    check_problem(editor.call("DELETE", "/schemas/order.created"), 404, "not-found")
    assert editor.get("/schemas/order.created?version=1").json_body == shown
    assert put(editor, "order.created", b"true").json_body["version"] == 3


def test_events_of_a_type_with_a_schema_must_match_it(editor: Sender) -> None:
    assert editor.post("/events", {"eventType": "strict"}).status_code == 202
    put(editor, "strict", SCHEMA)
    response = editor.post("/events", {"eventType": "strict", "n": "one"})
    problem = check_problem(response, 422, "schema-violation", "/n")
    assert problem["errors"][0]["detail"] == 'is not of type "integer"'
    assert editor.post("/events", {"eventType": "strict", "n": 1}).status_code == 202
    editor.call("DELETE", "/schemas/strict")
    assert editor.post("/events", {"eventType": "strict", "n": "one"}).status_code == 202


@pytest.mark.parametrize(
    "content_type", ["application/schema+json", "application/json; charset=utf-8"]
)
def test_both_media_types_of_a_schema_are_read(editor: Sender, content_type: str) -> None:
    assert put(editor, "typed", SCHEMA, content_type).status_code == 201


def test_another_media_type_is_refused(editor: Sender) -> None:
    response = put(editor, "typed", SCHEMA, "text/plain")
    check_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("event_type", ["com.example.order", "größe", "a b"])
def test_a_type_is_named_in_the_path_encoded_or_not(editor: Sender, event_type: str) -> None:
    path = quote(event_type, safe="")
    assert put(editor, path, b"true").json_body["eventType"] == event_type
    assert editor.get(f"/schemas/{path}").json_body["eventType"] == event_type


@pytest.mark.parametrize("path", ["%20", "%00", "x" * 129, "%FF", "a%2541"])
def test_what_can_not_be_a_type_is_refused(editor: Sender, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        response = editor.call(method, f"/schemas/{path}", b"true", JSON)
        check_problem(response, 400, "invalid-request", "/path/eventType")


@pytest.mark.parametrize(
    ("schema", "code", "pointer"),
    [
        (b"{", "invalid-json", ""),
        (b"", "invalid-json", ""),
        ({"type": "objekt"}, "invalid-request", "/type"),
        ({"items": {"$ref": "http://localhost/"}}, "invalid-request", "/items/$ref"),
        ({"pattern": "(?=a)"}, "invalid-request", "/pattern"),
        ({"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "invalid-request", ""),
    ],
)
def test_a_schema_that_can_not_be_is_told_why(
    editor: Sender, schema: Any, code: str, pointer: str
) -> None:
    check_problem(put(editor, "bad", schema), 400, code, pointer)
    check_problem(editor.get("/schemas/bad"), 404, "not-found")


def test_a_schema_that_is_too_large_is_refused(editor: Sender) -> None:
    check_problem(put(editor, "bad", b" " * 70_000), 413, "payload-too-large")


@pytest.mark.parametrize("version", ["0", "-1", "x", "1.0", "9" * 30, ""])
def test_a_version_that_can_not_be_is_refused(editor: Sender, version: str) -> None:
    response = editor.get(f"/schemas/a?version={version}")
    check_problem(response, 400, "invalid-request", "/query/version")


def test_scopes(platform: Platform, editor: Sender) -> None:
    put(editor, "scoped", b"true")
    reader, other = platform.sender("events:read"), platform.sender("events:write")
    assert reader.get("/schemas/scoped").status_code == 200
    assert reader.get("/schemas").status_code == 200
    check_problem(put(reader, "scoped", b"false"), 403, "forbidden")
    check_problem(reader.call("DELETE", "/schemas/scoped"), 403, "forbidden")
    check_problem(other.get("/schemas/scoped"), 403, "forbidden")
    check_problem(other.get("/schemas"), 403, "forbidden")


def test_pages_list_every_type_once_without_its_schema(editor: Sender) -> None:
    made = sorted(f"é.page.{number}" for number in range(5))
    for name in reversed(made):
        put(editor, name, SCHEMA)
    put(editor, made[0], b"true")
    seen: list[Any] = []
    cursor = ""
    for _ in range(10):
        body = editor.get(f"/schemas?limit=2{cursor}").json_body
        seen += body["items"]
        if body["cursor"] is None:
            break
        cursor = f"&cursor={body['cursor']}"
    assert [item["eventType"] for item in seen] == made
    assert [item["version"] for item in seen] == [2, 1, 1, 1, 1]
    assert all(item.keys() == {"eventType", "version", "createdAt"} for item in seen)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("cursor=%23", "/query/cursor"),
        ("cursor=", "/query/cursor"),
        ("cursor=YQ==", "/query/cursor"),
        ("cursor=_w", "/query/cursor"),
        ("owner=a", "/query/owner"),
    ],
)
def test_a_query_that_can_not_be_understood_is_told_why(
    editor: Sender, query: str, pointer: str
) -> None:
    check_problem(editor.get(f"/schemas?{query}"), 400, "invalid-request", pointer)


@pytest.mark.parametrize(
    ("named", "data"),
    [("item", {"price": "3"}), ("item.chair", {"type": "chair", "price": "3"})],
)
def test_items_are_checked_against_the_schema_of_their_kind(
    platform: Platform, named: str, data: dict[str, str]
) -> None:
    # Given an item, and then a schema for such items
    admin, alice = platform.sender("admin"), platform.sender("items:write", "items:read")
    made = alice.post("/items", data)
    assert made.status_code == 201
    schema = json.dumps({"properties": {"price": {"type": "number"}}}).encode()
    assert admin.call("PUT", f"/schemas/{named}", schema).status_code == 201
    # When an item that breaks it is made, or an item is changed to one
    again = alice.post("/items", data)
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    path = f"/items/{made.json_body['itemId']}"
    changed = alice.call("PUT", path, json.dumps(data).encode(), headers)
    # Then it is refused where it is wrong, and others are not
    check_problem(again, 422, "schema-violation", "/price")
    check_problem(changed, 422, "schema-violation", "/price")
    assert alice.post("/items", {**data, "price": 3}).status_code == 201
    assert alice.post("/items", {"type": "table", "price": "3"}).status_code == 201


def test_the_history_of_a_type_is_listed(platform: Platform, editor: Sender) -> None:
    # Given three versions of a type whose name is no plain path segment
    segment = quote("order/paid größe", safe="")
    for schema in (SCHEMA, b"true", b"false"):
        put(editor, segment, schema)
    editor.call("DELETE", f"/schemas/{segment}")
    # When its history is read two at a time
    platform.calls.clear()
    first = editor.get(f"/schemas/{segment}/versions?limit=2").json_body
    assert platform.calls == ["GetItem", "Query"]
    rest = editor.get(f"/schemas/{segment}/versions?limit=2&cursor={first['cursor']}").json_body
    # Then the newest comes first, and each says what it is
    assert [one["version"] for one in first["items"] + rest["items"]] == [3, 2, 1]
    assert first["items"][0].keys() == {"eventType", "version", "createdAt"}
    assert first["items"][0]["eventType"] == "order/paid größe"
    assert rest["cursor"] is None
    # And what cannot be understood is told
    for wrong in ("x", "0", "-1", "1.0", "1e3", "9" * 20):
        refused = editor.get(f"/schemas/{segment}/versions?cursor={wrong}")
        check_problem(refused, 400, "invalid-request", "/query/cursor")
    nothing = editor.get("/schemas/nobody/versions")
    assert nothing.json_body == {"items": [], "cursor": None}


def test_format_is_checked_if_the_put_asked_for_it(editor: Sender) -> None:
    schema = {"properties": {"to": {"format": "ipv4"}}}
    event = {"eventType": "formatted", "to": "nowhere"}
    shown = put(editor, "formatted", schema).json_body
    assert "assertFormat" not in shown
    assert editor.post("/events", event).status_code == 202
    # When it is asked for, it is another version, which says so
    response = put(editor, "formatted?assertFormat=true", schema)
    assert (response.status_code, response.json_body["version"]) == (201, 2)
    assert response.json_body["assertFormat"] is True
    assert editor.get("/schemas/formatted").json_body == response.json_body
    assert put(editor, "formatted?assertFormat=true", schema).status_code == 200
    check_problem(editor.post("/events", event), 422, "schema-violation", "/to")
    assert put(editor, "formatted?assertFormat=false", schema).json_body["version"] == 3
    assert editor.post("/events", event).status_code == 202
    response = put(editor, "formatted?assertFormat=yes", schema)
    check_problem(response, 400, "invalid-request", "/query/assertFormat")


def test_a_long_number_is_checked_with_all_its_digits(editor: Sender) -> None:
    put(editor, "counted", {"properties": {"n": {"type": "integer"}}})
    envelope = {"specversion": "1.0", "id": "1", "source": "a", "type": "counted"}
    cloud = json.dumps({**envelope, "data": {"n": 0}})
    for text, status in (("9007199254740993.5", 422), ("9007199254740993.0", 202)):
        plain = f'{{"eventType":"counted","n":{text}}}'.encode()
        assert editor.call("POST", "/events", plain, JSON).status_code == status
        batch = b'{"events":[' + plain + b"]}"
        result = editor.call("POST", "/events/batch", batch, JSON).json_body["results"][0]
        assert (result["status"] == "rejected") is (status == 422)
        structured = cloud.replace('"n": 0', f'"n": {text}').encode()
        media_type = {"Content-Type": "application/cloudevents+json"}
        assert editor.call("POST", "/events", structured, media_type).status_code == status
        envelope["id"] += "0"
        binary = {f"ce-{name}": value for name, value in envelope.items()} | JSON
        data = f'{{"n":{text}}}'.encode()
        assert editor.call("POST", "/events", data, binary).status_code == status
    # And a change of a digit that a double lacks is another version
    assert put(editor, "precise", b'{"const":0.10000000000000001}').json_body["version"] == 1
    assert put(editor, "precise", b'{"const":0.10000000000000002}').json_body["version"] == 2


def test_an_event_of_long_numbers_does_not_hold_the_others_up(editor: Sender) -> None:
    put(editor, "prices", {"properties": {"x": {"items": {"multipleOf": 1e-300}}}})
    event = {"eventType": "prices", "x": [1e300] * 90_000}
    started = time.process_time()
    check_problem(editor.post("/events", event), 422, "schema-violation", "")
    assert time.process_time() - started < SECONDS


def test_an_item_with_a_long_number_is_checked_and_shown(platform: Platform) -> None:
    sender = platform.sender("items:write", "items:read", "schemas:write")
    put(sender, "item.counted", {"properties": {"n": {"type": "integer"}}})
    fraction = b'{"type":"counted","n":9007199254740993.5}'
    response = sender.call("POST", "/items", fraction, JSON)
    check_problem(response, 422, "schema-violation", "/n")
    integer = b'{"type":"counted","n":9007199254740993.0}'
    response = sender.call("POST", "/items", integer, JSON)
    assert response.status_code == 201
    item = sender.get(f"/items/{response.json_body['itemId']}").json_body
    assert item["data"]["n"] == response.json_body["data"]["n"] == float(2**53)
