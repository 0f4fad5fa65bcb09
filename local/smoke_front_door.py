"""The steps of `make smoke` for the ways in: CloudEvents, batches, schemas, webhooks."""

import hashlib
import hmac
import json
import secrets
import uuid
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

from local.smoke_api import Api, check
from local.smoke_triggers import Triggers, plainly

_CLOUD_EVENT = "application/cloudevents+json"


def front_door_steps(triggers: Triggers) -> Sequence[tuple[str, Callable[[Api], str]]]:
    """The steps in their order, with their titles."""

    def webhook(api: Api) -> str:
        return _webhook(api, triggers.client("ssm"), triggers.stage)

    return (
        ("a CloudEvent", cloud_event),
        ("a batch", _batch),
        ("a schema, broken, mended", _schema),
        ("a signed webhook", plainly(webhook)),
        ("the OpenAPI document", openapi),
    )


def cloud_event(api: Api) -> str:
    """A CloudEvent in binary mode is processed, and read back in structured mode."""
    headers = {
        "Content-Type": "application/octet-stream",
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid4()),
        "ce-source": "/smoke",
        "ce-type": "smoke.cloudevent",
    }
    data = bytes(range(256))
    accepted = api.call("POST", "/events", 202, data=data, headers=headers).json()
    event = api.follow(accepted["eventId"])
    check(event["status"] == "PROCESSED", f"it ended {event['status']}")
    path = f"/events/{accepted['eventId']}"
    envelope = api.call("GET", path, 200, headers={"Accept": _CLOUD_EVENT}).json()
    check(envelope["id"] == headers["ce-id"], f"read back as {envelope}")
    check(b64decode(envelope["data_base64"]) == data, f"read back as {envelope}")
    check(api.call("GET", f"{path}/payload", 200).content == data, "its payload is another")
    again = api.call("POST", "/events", 202, data=data, headers=headers)
    check(again.headers.get("Idempotent-Replayed") == "true", "its repeat is another event")
    return f"{envelope['type']} of {envelope['source']}, and once"


def _batch(api: Api) -> str:
    """A batch travels as one unit; a bad item is told by itself and kept."""
    good = [{"eventType": "smoke.batch", "number": number} for number in range(4)]
    bad = {"number": 4}
    failing = {"eventType": "eventline.drill.permanent"}
    answer = api.call("POST", "/events/batch", 202, json={"events": [*good, bad, failing]}).json()
    verdicts = [one["status"] for one in answer["results"]]
    check(verdicts == [*["accepted"] * 4, "rejected", "accepted"], f"the verdicts are {verdicts}")
    ends = [api.follow(one["eventId"]) for one in answer["results"]]
    statuses = [end["status"] for end in ends]
    check(statuses == [*["PROCESSED"] * 4, "REJECTED", "FAILED"], f"they ended {statuses}")
    units = {end["silverKey"] for end in ends[:4]}
    check(len(units) == 1, f"their results are in {units}")
    for event, end in zip(good, ends, strict=False):
        payload = api.call("GET", f"/events/{end['eventId']}/payload", 200).json()
        result = api.call("GET", f"/events/{end['eventId']}/result", 200).json()
        check(payload == event == result["data"], f"sent {event}, got {payload} and {result}")
    return "4 processed in one file, 1 rejected, 1 failed by itself"


def _schema(api: Api) -> str:
    """What breaks a schema is refused and kept, and goes through once the schema allows it."""
    event_type = f"smoke.schema.{uuid.uuid4().hex[:8]}"
    path = f"/schemas/{event_type}"
    api.call("PUT", path, 201, json=_schema_of("number"))
    sent = {"eventType": event_type, "total": "twelve"}
    problem = api.call("POST", "/events", 422, json=sent).json()
    pointers = [fault["pointer"] for fault in problem["errors"]]
    check(pointers == ["/total"], f"the faults are at {pointers}")
    listed = api.call(
        "GET", "/events", 200, params={"status": "REJECTED", "eventType": event_type}
    ).json()["items"]
    check(problem["eventId"] in [one["eventId"] for one in listed], "it is not in the list")
    replay = f"/events/{problem['eventId']}/replay"
    api.call("POST", replay, 422)
    mended = api.call("PUT", path, 201, json=_schema_of("string")).json()
    again = api.call("POST", replay, 202).json()
    event = api.follow(again["eventId"])
    check(event["status"] == "PROCESSED", f"the replay ended {event['status']}")
    check(event["replayOf"] == problem["eventId"], f"it is a replay of {event['replayOf']}")
    api.call("DELETE", path, 204)
    return f"refused at {pointers[0]}, kept, replayed under version {mended['version']}"


def _schema_of(kind: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"total": {"type": kind}}, "required": ["total"]}


def _webhook(api: Api, ssm: Any, stage: str) -> str:
    """A delivery of GitHub is taken for its signature, and nothing else is."""
    name = f"/eventline/{stage}/webhooks/github/secret"
    secret = secrets.token_hex(16)
    before = _secrets_of(ssm, name)
    # Appended to what is set, as a rotation does; functions remember the old list for seconds.
    ssm.put_parameter(
        Name=name, Value=json.dumps([*before, secret]), Type="SecureString", Overwrite=True
    )
    try:
        return _deliver(api, secret)
    finally:
        if before:
            ssm.put_parameter(
                Name=name, Value=json.dumps(before), Type="SecureString", Overwrite=True
            )
        else:
            ssm.delete_parameter(Name=name)


def _deliver(api: Api, secret: str) -> str:
    body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    api.call("POST", "/webhooks/github", 401, token=None, data=body + b" ", headers=headers)
    api.call("POST", "/webhooks/unheard-of", 401, token=None, data=body, headers=headers)
    accepted = api.call_until(
        "POST", "/webhooks/github", 202, token=None, data=body, headers=headers
    ).json()
    event = api.follow(accepted["eventId"])
    check(event["status"] == "PROCESSED", f"it ended {event['status']}")
    check(event["eventType"] == "github.ping", f"its type is {event['eventType']}")
    return f"{event['eventType']}; unsigned ones are refused"


def _secrets_of(ssm: Any, name: str) -> list[str]:
    try:
        text = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return []
    return list(json.loads(text)) if text.startswith("[") else text.replace(",", " ").split()


def openapi(api: Api) -> str:
    """The document that tells clients of all this."""
    document = api.call("GET", "/openapi.json", 200, token=None).json()
    check(document["openapi"].startswith("3.1"), f"openapi is {document['openapi']}")
    return f"OpenAPI {document['openapi']}, {len(document['paths'])} paths"
