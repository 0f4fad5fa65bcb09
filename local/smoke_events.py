"""The steps of `make smoke` that follow one event, and the loop that runs any steps."""

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import requests

from local.console import FailedError, elapsed, say
from local.smoke_api import Api, check


@dataclass
class Sent:
    """The event that the later steps ask about."""

    body: bytes
    key: str
    event_id: str = ""


def check_health(api: Api, _sent: Sent) -> str:
    """The API is up and says which version it is."""
    health = api.call("GET", "/health", 200, token=None).json()
    check(health["status"] == "ok", f"health says {health}")
    return f"version {health['version']}, stage {health['stage']}"


def post_event(api: Api, sent: Sent) -> str:
    """An event is accepted under an idempotency key."""
    answer = _post(api, sent.body, sent.key, 202)
    sent.event_id = answer.json()["eventId"]
    check(answer.json()["status"] == "accepted", f"the answer is {answer.text}")
    place = answer.headers.get("Location", "")
    check(place.endswith(f"/events/{sent.event_id}"), f"Location is {place!r}")
    return sent.event_id


def follow_event(api: Api, sent: Sent) -> str:
    """It is processed, and its timeline tells how."""
    event = api.follow(sent.event_id)
    check(event["status"] == "PROCESSED", f"it ended {event['status']}: {event.get('lastError')}")
    return _timeline(event["timeline"])


def read_payload(api: Api, sent: Sent) -> str:
    """Bronze holds the very bytes that were sent."""
    stored = api.call("GET", f"/events/{sent.event_id}/payload", 200).content
    check(stored == sent.body, f"sent {sent.body!r}, got back {stored!r}")
    return f"{len(stored)} bytes, the same as sent"


def read_result(api: Api, sent: Sent) -> str:
    """Silver holds the document made from it."""
    document = api.call("GET", f"/events/{sent.event_id}/result", 200).json()
    check(document["eventId"] == sent.event_id, f"the document is {document}")
    check("data" in document, f"the document has no data: {document}")
    return f"data {json.dumps(document['data'])[:80]}"


def list_events(api: Api, sent: Sent) -> str:
    """The list of its type shows it."""
    answer = api.call("GET", "/events", 200, params={"eventType": "smoke", "limit": "20"}).json()
    ids = [event["eventId"] for event in answer["items"]]
    check(sent.event_id in ids, f"{sent.event_id} is not among the newest {len(ids)}")
    return f"{len(ids)} of type smoke"


def repeat_event(api: Api, sent: Sent) -> str:
    """The same key and body get the first answer again."""
    answer = _post(api, sent.body, sent.key, 202)
    check(answer.json()["eventId"] == sent.event_id, f"another event: {answer.text}")
    replayed = answer.headers.get("Idempotent-Replayed", "")
    check(replayed == "true", f"Idempotent-Replayed is {replayed!r}")
    return "the same event"


def reuse_key(api: Api, sent: Sent) -> str:
    """The same key with another body is refused."""
    answer = _post(api, b'{"eventType":"smoke","other":true}', sent.key, 422)
    return str(answer.json()["code"])


def send_without_token(api: Api, sent: Sent) -> str:
    """Nobody gets in without a token."""
    answer = api.call("POST", "/events", 401, token=None, data=sent.body)
    check(answer.headers.get("WWW-Authenticate", "").startswith("Bearer"), "no WWW-Authenticate")
    return str(answer.json()["code"])


def fail_event(api: Api, _sent: Sent) -> str:
    """An event that cannot be processed ends FAILED, with the reason."""
    answer = _post(api, b'{"eventType":"eventline.drill.permanent"}', str(uuid.uuid4()), 202)
    event = api.follow(answer.json()["eventId"])
    error = event.get("lastError") or {}
    check(event["status"] == "FAILED", f"it ended {event['status']}")
    check(bool(error.get("message")), f"it has no reason: {event}")
    return f"after {event['attempts']} attempt: {error['class']}, {error['message']}"


def use_token(api: Api, _sent: Sent) -> str:
    """A token is issued, used within its scopes, and useless once revoked."""
    wish = {"owner": f"smoke-{uuid.uuid4().hex[:8]}", "scopes": ["events:read"]}
    issued = api.call("POST", "/tokens", 201, json=wish).json()
    token = issued["token"]
    api.call("GET", "/events", 200, token=token)
    api.call("POST", "/events", 403, token=token, json={"eventType": "smoke"})
    revoked = api.call("DELETE", f"/tokens/{issued['id']}", 204)
    check(not revoked.content, "a 204 with a body")
    # The gateway may remember its answer to this very header for a while, as it may on AWS: a
    # header of another spelling makes it ask again.
    api.call("GET", "/events", 401, token=None, headers={"Authorization": f"bearer {token}"})
    return "issued, used, revoked"


Steps = Sequence[tuple[str, Callable[[Api, Sent], str]]]

STEPS: Steps = (
    ("health", check_health),
    ("POST an event", post_event),
    ("follow it to PROCESSED", follow_event),
    ("its payload", read_payload),
    ("its result", read_result),
    ("the list of events", list_events),
    ("POST it again", repeat_event),
    ("its key, another body", reuse_key),
    ("without a token", send_without_token),
    ("an event that must fail", fail_event),
    ("a token's life", use_token),
)


def _post(api: Api, body: bytes, key: str, expect: int) -> requests.Response:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    return api.call("POST", "/events", expect, data=body, headers=headers)


def _timeline(entries: list[dict[str, str]]) -> str:
    """The statuses with the time each took after the one before."""
    times = [datetime.fromisoformat(entry["at"]) for entry in entries]
    words = [f"{entries[0]['status']} {times[0]:%H:%M:%S}"]
    for entry, before, at in zip(entries[1:], times, times[1:], strict=False):
        words.append(f"{entry['status']} +{(at - before).total_seconds():.3f} s")
    return " -> ".join(words)


def run(api: Api, name: str, steps: Steps) -> None:
    """Run the steps against one API; raises `FailedError` at the first that fails."""
    say(f"{name}: {api.url}")
    body = json.dumps({"eventType": "smoke", "message": "grüße", "at": time.time()}).encode()
    sent = Sent(body, f"smoke-{uuid.uuid4()}")
    for title, action in steps:
        started = time.monotonic()
        try:
            found = action(api, sent)
        except FailedError:
            say(f"  FAILED {title} ({elapsed(time.monotonic() - started)})")
            raise
        except (KeyError, TypeError, ValueError) as error:
            say(f"  FAILED {title} ({elapsed(time.monotonic() - started)})")
            raise FailedError(f"an answer lacks what the contract says: {error!r}") from error
        say(f"  ok     {title:<24} {elapsed(time.monotonic() - started):>7}  {found}")
