"""The steps of `make smoke` for taking up again: a replay of many, and dead letters."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from local.smoke_api import Api, check, until

_DRILL = "eventline.drill.permanent"
_MANY = 5


def _replay_many(api: Api) -> str:
    """A replay of a type is counted, run to its end, and known by its key."""
    event_type = f"smoke.replay.{uuid.uuid4().hex[:8]}"
    events = [{"eventType": event_type, "number": number} for number in range(_MANY)]
    answer = api.call("POST", "/events/batch", 202, json={"events": events}).json()
    before = {one["eventId"] for one in answer["results"]}
    for event_id in before:
        api.follow(event_id)
    wish = {"eventType": event_type, "status": "PROCESSED", "rate": 100}
    count = api.call("POST", "/replays", 200, json={**wish, "dryRun": True}).json()
    check(count["matched"] == _MANY, f"it would replay {count['matched']}")
    key = {"Idempotency-Key": event_type}
    started = api.call("POST", "/replays", 202, json=wish, headers=key).json()
    again = api.call("POST", "/replays", 202, json=wish, headers=key)
    check(again.json()["id"] == started["id"], "its repeat started another")

    def ended() -> dict[str, Any] | None:
        replay: dict[str, Any] = api.call("GET", f"/replays/{started['id']}", 200).json()
        return replay if replay["status"] != "RUNNING" else None

    replay = until("the replay to end", ended)
    check((replay["status"], replay["done"]) == ("DONE", _MANY), f"it ended {replay}")
    listed = api.call("GET", "/events", 200, params={"eventType": event_type}).json()["items"]
    made = [one for one in listed if one["replayOf"]]
    check({one["replayOf"] for one in made} == before, f"it replayed {made}")
    for one in made:
        check(api.follow(one["eventId"])["status"] == "PROCESSED", f"{one['eventId']} failed")
    return f"{count['matched']} counted, {replay['done']} replayed, each with its replayOf"


def _redrive(api: Api) -> str:
    """A FAILED event is listed with its reason and taken up again as itself."""
    event_id = api.call("POST", "/events", 202, json={"eventType": _DRILL}).json()["eventId"]
    api.follow(event_id)
    query = {"eventType": _DRILL, "limit": "100"}
    letters = api.call("GET", "/dead-letters", 200, params=query).json()["items"]
    (letter,) = (one for one in letters if one["eventId"] == event_id)
    check(letter["redrivable"], f"it cannot be redriven: {letter['whyNot']}")
    done = api.call("POST", "/dead-letters/redrive", 200, json={"eventId": event_id}).json()
    check((done["redriven"], done["skipped"]) == (1, []), f"the redrive did {done}")

    def tried_again() -> dict[str, Any] | None:
        event: dict[str, Any] = api.call("GET", f"/events/{event_id}", 200).json()
        return event if event["attempts"] == letter["attempts"] + 1 else None

    event = until("the event to be tried again", tried_again)
    statuses = [step["status"] for step in event["timeline"]]
    check(statuses[-3:] == ["FAILED", "ENQUEUED", "FAILED"], f"its timeline is {statuses}")
    return f"{letter['reason']['class']}, redriven, and failed again as it must"


RECOVERY_STEPS: Sequence[tuple[str, Callable[[Api], str]]] = (
    ("a replay of many", _replay_many),
    ("a dead letter, redriven", _redrive),
)
