"""Another owner's things: each route with an id or a list, by a token of somebody else.

`CASES` says of every route what keeps owners apart on it; a route without an entry fails.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from chalice.test import HTTPResponse

import app
from chalicelib import wiring
from chalicelib.alerts.groups import AlertGroup, GroupState
from chalicelib.alerts.model import Alert, read_message
from chalicelib.core.config import settings
from chalicelib.events.alerts import event_failed
from chalicelib.events.model import Failure
from chalicelib.uploads.model import ObjectRecord, object_id, upload_key
from chalicelib.web.callers import SCOPES
from tests.support.app_on_moto import Platform, Sender
from tests.support.factories import make_event, make_id, unique
from tests.support.problems import check_problem

ROUTES = sorted((method, path) for path, methods in app.app.routes.items() for method in methods)
EVERYTHING_BUT_ADMIN = tuple(scope for scope in SCOPES if scope != "admin")
AT = "2026-03-14T12:00:00.000Z"
SCHEMA = {"type": "object"}


@dataclass(frozen=True)
class Has:
    """What Alice has: the values of path parameters, and what a list shows of it."""

    ids: dict[str, str]
    alert_groups: dict[str | None, str]
    upload: str


def the_id(*_: Any) -> None:
    """Another owner's id answers 404, as if there were none; its owner's answers."""


def a_list(*_: Any) -> None:
    """Others' are left out of the list."""


@dataclass(frozen=True)
class Open:
    """No owner keeps callers apart here, for this reason."""

    why: str


Case = Callable[..., None] | Open
CASES: dict[tuple[str, str], Case] = {
    ("GET", "/events/{event_id}"): the_id,
    ("GET", "/events/{event_id}/payload"): the_id,
    ("GET", "/events/{event_id}/result"): the_id,
    ("POST", "/events/{event_id}/replay"): the_id,
    ("GET", "/replays/{replay_id}"): the_id,
    ("DELETE", "/replays/{replay_id}"): the_id,
    ("GET", "/items/{item_id}"): the_id,
    ("PUT", "/items/{item_id}"): the_id,
    ("DELETE", "/items/{item_id}"): the_id,
    ("DELETE", "/subscriptions/{subscription_id}"): the_id,
    ("GET", "/events/{event_id}/deliveries"): the_id,
    ("GET", "/destinations/{destination_id}"): the_id,
    ("PUT", "/destinations/{destination_id}"): the_id,
    ("DELETE", "/destinations/{destination_id}"): the_id,
    ("POST", "/destinations/{destination_id}/rotate"): the_id,
    ("GET", "/destinations/{destination_id}/attempts"): the_id,
    ("POST", "/destinations/{destination_id}/retry"): the_id,
    ("GET", "/destinations"): a_list,
    ("GET", "/events"): a_list,
    ("GET", "/replays"): a_list,
    ("GET", "/dead-letters"): a_list,
    ("GET", "/items"): a_list,
    ("GET", "/subscriptions"): a_list,
    ("GET", "/uploads"): a_list,
    ("GET", "/alerts"): a_list,
    ("GET", "/stats"): Open("sums of the caller's own events, see test_stats"),
    ("GET", "/failures"): Open("groups of the caller's own events, see test_failures"),
    ("POST", "/events"): Open("what is made belongs to the caller"),
    ("POST", "/events/batch"): Open("what is made belongs to the caller"),
    ("POST", "/replays"): Open("takes what the caller has; see test_replays"),
    ("POST", "/dead-letters/redrive"): Open("takes what the caller has; see test_dead_letters"),
    ("POST", "/items"): Open("what is made belongs to the caller"),
    ("POST", "/subscriptions"): Open("what is made belongs to the caller"),
    ("POST", "/destinations"): Open("what is made belongs to the caller"),
    ("POST", "/uploads"): Open("what is made belongs to the caller"),
    ("GET", "/reconcile"): Open("counts of the stage; ids for admins, see test_reports"),
    ("GET", "/settings"): Open("needs admin; settings of the stage"),
    ("GET", "/queues"): Open("counts of the stage's queues"),
    ("GET", "/schemas"): Open("schemas are the stage's"),
    ("GET", "/schemas/{event_type}"): Open("schemas are the stage's"),
    ("GET", "/schemas/{event_type}/versions"): Open("schemas are the stage's"),
    ("PUT", "/schemas/{event_type}"): Open("schemas are the stage's"),
    ("DELETE", "/schemas/{event_type}"): Open("schemas are the stage's"),
    ("POST", "/tokens"): Open("needs admin"),
    ("GET", "/tokens"): Open("needs admin"),
    ("GET", "/tokens/self"): Open("answers of the caller alone"),
    ("DELETE", "/tokens/{token_id}"): Open("needs admin"),
    ("POST", "/webhooks/{source}"): Open("public: a signature is asked for"),
    ("GET", "/health"): Open("public"),
    ("HEAD", "/health"): Open("public"),
    ("GET", "/console"): Open("public"),
    ("GET", "/console/{file}"): Open("public"),
    ("HEAD", "/openapi.json"): Open("public"),
    ("GET", "/openapi.json"): Open("public"),
}
BODIES = {
    ("PUT", "/destinations/{destination_id}"): {
        "url": "https://shop.example.com/",
        "eventTypes": ["order.*"],
    },
    ("POST", "/destinations/{destination_id}/retry"): {"failedSince": "2026-01-01"},
}
BY_ID = [route for route, case in CASES.items() if case is the_id]
LISTS = [path for (_, path), case in CASES.items() if case is a_list]


def make_things(platform: Platform, alice: Sender) -> Has:
    """One of everything, which belongs to Alice."""
    event_id = alice.event_id({"eventType": "demo", "secret": "alice"})
    alice.event_id({"eventType": "eventline.drill.permanent"})
    platform.work()
    replay = alice.post("/replays", {"to": "2026-01-01"})
    item = alice.post("/items", {"secret": "alice"})
    platform.aws("sns").create_topic(Name="eventline-test-owner-notifications")
    order = {"protocol": "email", "endpoint": f"{alice.owner}@example.com"}
    subscription = alice.post("/subscriptions", order)
    hook = {"url": "https://shop.example.com/", "eventTypes": ["order.*"]}
    destination = alice.post("/destinations", hook)
    record = upload_of(alice.owner)
    wiring.record_uploads().store.add(record)
    groups = {owner: open_alert(owner) for owner in (alice.owner, None)}
    ids = {
        "event_id": event_id,
        "replay_id": replay.json_body["id"],
        "item_id": item.json_body["itemId"],
        "subscription_id": subscription.json_body["subscriptionId"],
        "destination_id": destination.json_body["id"],
    }
    return Has(ids, groups, record.object_key)


def upload_of(owner: str) -> ObjectRecord:
    key = upload_key(owner, make_id(), "report.csv")
    return ObjectRecord(
        object_id=object_id("uploads", key, None, "0A"),
        bucket="uploads",
        object_key=key,
        size=1,
        etag="e",
        version_id=None,
        sequencer="0A",
        owner=owner,
        event_name="ObjectCreated:Put",
        event_time=AT,
        timestamp=1,
        ttl=2**40,
    )


def open_alert(owner: str | None) -> str:
    """A group of alerts about what `owner` has; None for what concerns everybody. Its id."""
    message = "Terraform apply failed"
    if owner is not None:
        failure = Failure("permanent", "schema", "no amount")
        message = event_failed(make_event(owner=owner), failure, AT)
    alert = read_message(message)
    assert isinstance(alert, Alert)
    group = AlertGroup(make_id(), alert, AT, AT, 1, GroupState.DELIVERED, ("m",))
    made, _ = wiring.alerts().open(group)
    assert made
    return group.group_id


def ask(sender: Sender, method: str, path: str, has: Has) -> HTTPResponse:
    address = re.sub(r"\{(\w+)\}", lambda match: has.ids[match[1]], path)
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    body = BODIES.get((method, path), {"changed": True})
    return sender.call(method, address, json.dumps(body).encode(), headers)


def shown(sender: Sender, path: str) -> list[Any]:
    """All that a list shows somebody, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = sender.get(f"{path}?limit=2{cursor}").json_body
        found += page["items"]
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"


def test_every_route_says_what_keeps_owners_apart() -> None:
    assert CASES.keys() == set(ROUTES)
    for (method, path), case in CASES.items():
        if "{" in path and isinstance(case, Open):
            assert case.why.startswith(("schemas are", "needs admin", "public")), (method, path)


@pytest.mark.parametrize(("method", "path"), BY_ID)
def test_another_owner_s_id_looks_as_if_it_did_not_exist(
    platform: Platform, method: str, path: str
) -> None:
    # Given what Alice has, and Bob, who may do everything but administer
    alice = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("alice"))
    bob = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("bob"))
    has = make_things(platform, alice)
    nothing = Has({name: make_id() for name in has.ids}, {}, "")
    # When Bob asks for it, and for what nobody has
    refused = check_problem(ask(bob, method, path, has), 404, "not-found")
    unknown = check_problem(ask(bob, method, path, nothing), 404, "not-found")
    # Then he cannot tell one from the other
    assert {**refused, "requestId": ""} == {**unknown, "requestId": ""}
    # And Alice has it still
    assert ask(alice, method, path, has).status_code in (200, 202, 204)


@pytest.mark.parametrize(("method", "path"), BY_ID)
def test_an_admin_reaches_what_every_owner_has(platform: Platform, method: str, path: str) -> None:
    alice = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("alice"))
    has = make_things(platform, alice)
    assert ask(platform.sender("admin"), method, path, has).status_code in (200, 202, 204)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_shows_nothing_of_another_owner(platform: Platform, path: str) -> None:
    # Given what Alice has
    alice = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("alice"))
    bob = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("bob"))
    has = make_things(platform, alice)
    traces = [alice.owner, *has.ids.values(), has.alert_groups[alice.owner], has.upload]
    # When Bob lists it
    seen_by_bob, seen_by_alice = shown(bob, path), shown(alice, path)
    # Then it is not there for him, and is for her
    assert not [trace for trace in traces if trace in json.dumps(seen_by_bob)]
    assert [trace for trace in traces if trace in json.dumps(seen_by_alice)]
    assert path == "/alerts" or seen_by_bob == []


@pytest.mark.parametrize("path", ["/items", "/subscriptions"])
def test_a_list_of_a_named_owner_is_for_that_owner_and_admins(
    platform: Platform, path: str
) -> None:
    alice = platform.sender(*EVERYTHING_BUT_ADMIN, owner=unique("alice"))
    make_things(platform, alice)
    address = f"{path}?owner={alice.owner}"
    check_problem(platform.sender(*EVERYTHING_BUT_ADMIN).get(address), 403, "forbidden")
    assert len(alice.get(address).json_body["items"]) == 1
    assert len(platform.sender("admin").get(address).json_body["items"]) == 1


def test_an_alert_is_shown_to_whom_it_concerns(platform: Platform) -> None:
    # Given alerts about what Alice has, what Bob has, and what concerns everybody
    alice, bob = platform.sender(owner=unique("alice")), platform.sender(owner=unique("bob"))
    owners = (alice.owner, bob.owner, None)
    groups = {owner: open_alert(owner) for owner in owners}

    def seen_by(sender: Sender) -> set[str]:
        return {group["groupId"] for group in shown(sender, "/alerts")}

    # Then each sees what is his or everybody's, and an admin sees all
    assert seen_by(alice) == {groups[alice.owner], groups[None]}
    assert seen_by(bob) == {groups[bob.owner], groups[None]}
    assert seen_by(platform.sender()) == {groups[None]}
    assert seen_by(platform.sender("admin")) == set(groups.values())


def test_a_page_of_alerts_may_be_short_but_none_is_missed(platform: Platform) -> None:
    # Given many alerts of others around one of Alice's
    alice = platform.sender(owner=unique("alice"))
    for _ in range(5):
        open_alert(unique("other"))
    mine = open_alert(alice.owner)
    for _ in range(5):
        open_alert(unique("other"))
    # When she reads them a page at a time
    platform.calls.clear()
    first = alice.get("/alerts?limit=2").json_body
    cost = len(platform.calls)
    found = [group["groupId"] for group in shown(alice, "/alerts")]
    # Then she finds hers, and a page costs the same as for one who sees all
    assert found == [mine]
    assert len(first["items"]) <= 2
    admin = platform.sender("admin")
    platform.calls.clear()
    admin.get("/alerts?limit=2")
    assert len(platform.calls) == cost


def test_a_group_from_before_owners_were_noted_concerns_everybody(platform: Platform) -> None:
    # Given a group as it was written then
    group_id = open_alert(unique("alice"))
    table = settings().alerts_table
    platform.aws("dynamodb").update_item(
        TableName=table,
        Key={"pk": {"S": f"ALERT#{group_id}"}},
        UpdateExpression="REMOVE alert.#owner",
        ExpressionAttributeNames={"#owner": "owner"},
    )
    # Then it is read, and shown
    assert wiring.alerts().get_many([group_id])[group_id].alert.owner is None
    seen = [group["groupId"] for group in shown(platform.sender(), "/alerts")]
    assert seen == [group_id]
