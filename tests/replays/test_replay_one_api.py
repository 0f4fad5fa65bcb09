"""POST /events/{id}/replay, to the end of the new event."""

import json

from tests.support.app_on_moto import NAMES, Platform
from tests.support.problems import check_problem

SCOPES = ("events:write", "events:read", "events:admin")


def test_a_processed_event_is_processed_again_as_another(platform: Platform) -> None:
    # Given
    alice = platform.sender(*SCOPES)
    body = b'{"eventType":"demo", "n": 1.50}'
    first = alice.event_id(body)
    platform.work()
    # When
    response = alice.call("POST", f"/events/{first}/replay")
    platform.work()
    # Then
    assert response.status_code == 202
    again = response.json_body["eventId"]
    assert response.json_body == {"status": "accepted", "eventId": again}
    assert response.headers["Location"] == f"/events/{again}"
    record = alice.get(f"/events/{again}").json_body
    assert (record["status"], record["replayOf"]) == ("PROCESSED", first)
    assert record["timeline"][0]["detail"] == f"replay of {first}"
    assert alice.get(f"/events/{again}/payload").body == body
    results = [alice.get(f"/events/{event_id}/result").json_body for event_id in (first, again)]
    assert results[0]["data"] == results[1]["data"]
    assert [result["eventId"] for result in results] == [first, again]
    # And each has a silver document of its own, over one object in bronze
    for bucket, count in ((NAMES.bronze_bucket, 1), (NAMES.silver_bucket, 2)):
        listed = platform.aws("s3").list_objects_v2(Bucket=bucket)
        assert listed["KeyCount"] == count


def test_an_event_of_a_unit_is_replayed_by_itself(platform: Platform) -> None:
    # Given a unit that was processed
    alice = platform.sender(*SCOPES)
    events = [{"eventType": "demo", "n": number} for number in range(3)]
    answer = alice.post("/events/batch", {"events": events})
    ids = [result["eventId"] for result in answer.json_body["results"]]
    platform.work()
    # When one of it is replayed
    again = alice.call("POST", f"/events/{ids[1]}/replay").json_body["eventId"]
    platform.work()
    # Then
    record = alice.get(f"/events/{again}").json_body
    assert (record["status"], record["replayOf"]) == ("PROCESSED", ids[1])
    assert alice.get(f"/events/{again}/result").json_body["data"] == events[1]
    assert record["silverKey"].endswith(f"{again}.json")


def test_what_is_on_its_way_is_not_replayed(platform: Platform) -> None:
    alice = platform.sender(*SCOPES)
    event_id = alice.event_id({"eventType": "demo"})
    check_problem(alice.call("POST", f"/events/{event_id}/replay"), 409, "conflict")


def test_a_rejected_event_is_replayed_once_its_schema_is_ended(platform: Platform) -> None:
    # Given an event that its schema refuses
    admin, alice = platform.sender("admin"), platform.sender(*SCOPES)
    strict = json.dumps({"required": ["missing"]}).encode()
    admin.call("PUT", "/schemas/demo", strict)
    response = alice.post("/events", {"eventType": "demo"})
    rejected = check_problem(response, 422, "schema-violation", "")["eventId"]
    replay = f"/events/{rejected}/replay"
    check_problem(alice.call("POST", replay), 422, "schema-violation", "")
    # When the schema is ended
    assert admin.call("DELETE", "/schemas/demo").status_code == 204
    again = alice.call("POST", replay).json_body["eventId"]
    platform.work()
    # Then
    record = alice.get(f"/events/{again}").json_body
    assert (record["status"], record["replayOf"]) == ("PROCESSED", rejected)
    assert alice.get(f"/events/{rejected}").json_body["status"] == "REJECTED"
