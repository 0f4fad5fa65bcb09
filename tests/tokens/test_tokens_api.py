"""POST, GET and DELETE /tokens: a token's life."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.web.callers import SCOPES
from tests.support.app_on_moto import NAMES, Platform, Sender
from tests.support.problems import check_headers, check_problem


@pytest.fixture
def admin(platform: Platform) -> Sender:
    return platform.sender("admin")


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_a_token_is_shown_once_and_works_until_it_is_revoked(
    platform: Platform, admin: Sender
) -> None:
    # When an admin issues a token
    response = admin.post("/tokens", {"owner": "alice", "scopes": ["events:read"]})
    # Then it is shown, this once
    assert response.status_code == 201
    check_headers(response)
    issued = response.json_body
    members = {"id", "owner", "scopes", "createdAt", "expiresAt", "lastUsedAt", "token"}
    assert issued.keys() == members
    assert (issued["owner"], issued["scopes"]) == ("alice", ["events:read"])
    assert issued["expiresAt"] is None
    assert response.headers["Location"] == f"/tokens/{issued['id']}"
    listed = admin.get("/tokens")
    check_headers(listed)
    assert issued["id"] in {token["id"] for token in listed.json_body["items"]}
    assert issued["token"].rpartition("_")[2].encode() not in listed.body
    # And it works, as far as its scopes go
    alice = Sender(platform.client, "alice", issued["token"])
    assert alice.get("/events").status_code == 200
    check_problem(alice.post("/events", b"{}"), 403, "forbidden")
    # Until it is revoked
    revoked = admin.call("DELETE", f"/tokens/{issued['id']}")
    assert revoked.status_code == 204
    assert revoked.body == b""
    check_headers(revoked)
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        alice.get("/events")
    check_problem(admin.call("DELETE", f"/tokens/{issued['id']}"), 404, "not-found")


def test_the_secret_is_nowhere_in_the_store(platform: Platform, admin: Sender) -> None:
    issued = admin.post("/tokens", {"owner": "alice", "scopes": ["admin"]}).json_body
    items = platform.aws("dynamodb").scan(TableName=NAMES.tokens_table)["Items"]
    secret = issued["token"].rpartition("_")[2]
    assert secret not in str(items)


def test_an_expiry_is_stored_and_sets_the_ttl(platform: Platform, admin: Sender) -> None:
    order = {"owner": "alice", "scopes": ["admin"], "expiresAt": "2100-01-01T00:00:00+02:00"}
    issued = admin.post("/tokens", order).json_body
    assert issued["expiresAt"] == "2099-12-31T22:00:00.000Z"
    key = {"pk": {"S": f"TOKEN#{issued['id']}"}}
    item = platform.aws("dynamodb").get_item(TableName=NAMES.tokens_table, Key=key)["Item"]
    assert item["ttl"] == {"N": "4102437600"}


@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_can_be_given(admin: Sender, scope: str) -> None:
    response = admin.post("/tokens", {"owner": "alice", "scopes": [scope]})
    assert response.json_body["scopes"] == [scope]


@pytest.mark.parametrize(
    ("order", "pointers"),
    [
        ({}, ["/owner", "/scopes"]),
        ({"owner": "#", "scopes": ["admin"]}, ["/owner"]),
        ({"owner": 7, "scopes": ["admin"]}, ["/owner"]),
        ({"owner": "a", "scopes": []}, ["/scopes"]),
        ({"owner": "a", "scopes": "admin"}, ["/scopes"]),
        ({"owner": "a", "scopes": ["admin", "root", 7]}, ["/scopes/1", "/scopes/2"]),
        ({"owner": "a", "scopes": [["admin"]]}, ["/scopes/0"]),
        ({"owner": "a", "scopes": [{}]}, ["/scopes/0"]),
        ({"owner": "a", "scopes": ["admin"], "expiresAt": "soon"}, ["/expiresAt"]),
        ({"owner": "a", "scopes": ["admin"], "expiresAt": 7}, ["/expiresAt"]),
        ({"owner": "a", "scopes": ["admin"], "expiresAt": ""}, ["/expiresAt"]),
        ({"owner": "a", "scopes": ["admin"], "expiresAt": "2020-01-01"}, ["/expiresAt"]),
        ({"owner": "a", "scopes": ["admin"], "ttl": 7}, ["/ttl"]),
        ([], [""]),
        ("admin", [""]),
        (None, [""]),
    ],
)
def test_an_order_that_cannot_be_filled_is_told_why(
    admin: Sender, order: Any, pointers: list[str]
) -> None:
    check_problem(admin.post("/tokens", order), 400, "invalid-request", *pointers)


def test_an_order_that_is_not_json_is_refused(admin: Sender) -> None:
    check_problem(admin.post("/tokens", b"{"), 400, "invalid-json", "")


def test_pages_show_every_token_once(admin: Sender) -> None:
    made = {
        admin.post("/tokens", {"owner": "a", "scopes": ["admin"], "expiresAt": in_days(1)})
        .json_body["id"]
        for _ in range(5)
    }  # fmt: skip
    seen: list[str] = []
    cursor = ""
    for _ in range(20):
        page = admin.get(f"/tokens?limit=2{cursor}").json_body
        assert len(page["items"]) <= 2
        seen += [token["id"] for token in page["items"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert page["cursor"] is None
    assert len(seen) == len(set(seen)) == len(made) + 1
    assert made < set(seen)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("limit=0", "/query/limit"), ("cursor=%23", "/query/cursor"), ("owner=a", "/query/owner")],
)
def test_a_query_that_cannot_be_understood_is_told_why(
    admin: Sender, query: str, pointer: str
) -> None:
    check_problem(admin.get(f"/tokens?{query}"), 400, "invalid-request", pointer)


@pytest.mark.parametrize("token_id", ["nosuch", "A", "..%2Fx", "x" * 40])
def test_a_token_that_is_not_there_is_not_found(admin: Sender, token_id: str) -> None:
    check_problem(admin.call("DELETE", f"/tokens/{token_id}"), 404, "not-found")


def test_a_token_tells_what_it_is(platform: Platform, admin: Sender) -> None:
    # Given a token that ends, and one without any scope that counts
    order = {"owner": "alice", "scopes": ["events:read", "admin"], "expiresAt": in_days(1)}
    issued = admin.post("/tokens", order).json_body
    alice, bare = Sender(platform.client, "alice", issued["token"]), platform.sender("none")
    # When each asks, not for the first time in this hour
    assert alice.get("/tokens/self").status_code == 200
    platform.calls.clear()
    told = alice.get("/tokens/self")
    # Then it learns what it may do, at no call but the authorizer's
    assert platform.calls == ["GetItem"]
    check_headers(told)
    assert told.json_body == {
        "id": issued["id"],
        "owner": "alice",
        "scopes": ["admin", "events:read"],
        "expiresAt": issued["expiresAt"],
        "authMode": "token",
    }
    bare_told = bare.get("/tokens/self").json_body
    assert (bare_told["owner"], bare_told["expiresAt"]) == (bare.owner, None)
    check_problem(bare.get("/tokens/self?owner=alice"), 400, "invalid-request", "/query/owner")


def test_a_token_that_was_used_says_when(platform: Platform, admin: Sender) -> None:
    issued = admin.post("/tokens", {"owner": "alice", "scopes": ["events:read"]}).json_body
    assert issued["lastUsedAt"] is None
    before = f"{datetime.now(UTC):%Y-%m-%dT%H}:00:00.000Z"
    Sender(platform.client, "alice", issued["token"]).get("/tokens/self")
    after = f"{datetime.now(UTC):%Y-%m-%dT%H}:00:00.000Z"
    (listed,) = [
        one
        for one in admin.get("/tokens?limit=100").json_body["items"]
        if one["id"] == issued["id"]
    ]
    assert before <= listed["lastUsedAt"] <= after
