"""The plain design: what a team writes first. Each step waits for the one before.

Ingest: S3 put, DynamoDB put, SQS send. The worker takes one message after another: it reads bronze,
transforms, writes silver, publishes to the bus, notes the status. A repeat is a new event, and one
failure fails the whole batch. Each run writes one line of log.
"""

import json
import os
import uuid
from datetime import UTC, datetime
from typing import Any

import boto3

s3: Any = boto3.client("s3")
sqs: Any = boto3.client("sqs")
dynamodb: Any = boto3.client("dynamodb")
bus: Any = boto3.client("events")


def ingest(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """An API Gateway proxy event in, 202 with the event's id out; three calls to AWS."""
    body = event["body"]
    event_type = json.loads(body)["eventType"]
    event_id, now = str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="milliseconds")
    key = f"bronze/{event_type}/{now[:10].replace('-', '/')}/{event_id}.json"
    s3.put_object(Bucket=os.environ["BRONZE_BUCKET"], Key=key, Body=body.encode())
    message = {"eventId": event_id, "eventType": event_type, "receivedAt": now, "key": key}
    dynamodb.put_item(
        TableName=os.environ["EVENTS_TABLE"],
        Item={name: {"S": value} for name, value in (message | {"status": "ENQUEUED"}).items()},
    )
    sqs.send_message(QueueUrl=os.environ["EVENTS_QUEUE_URL"], MessageBody=json.dumps(message))
    print(json.dumps({"message": "accepted", "eventId": event_id}))
    return {"statusCode": 202, "body": json.dumps({"status": "accepted", "eventId": event_id})}


def work(event: dict[str, Any], _context: object) -> None:
    """An SQS event in; four calls to AWS a record. Raises what a call raises."""
    for record in event["Records"]:
        process(json.loads(record["body"]))
    print(json.dumps({"message": "processed", "events": len(event["Records"])}))


def process(message: dict[str, str]) -> None:
    """Bring one event from bronze to silver, publish it, and note that it is done."""
    event_id, event_type = message["eventId"], message["eventType"]
    bronze = s3.get_object(Bucket=os.environ["BRONZE_BUCKET"], Key=message["key"])
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    silver = {**message, "processedAt": now, "data": json.loads(bronze["Body"].read())}
    key = f"silver/{event_type}/dt={message['receivedAt'][:10]}/{event_id}.json"
    s3.put_object(Bucket=os.environ["SILVER_BUCKET"], Key=key, Body=json.dumps(silver).encode())
    entry = {
        "EventBusName": os.environ["EVENT_BUS"],
        "Source": "peer",
        "DetailType": event_type,
        "Detail": json.dumps({"eventId": event_id, "silverKey": key}),
    }
    if bus.put_events(Entries=[entry])["FailedEntryCount"]:
        raise RuntimeError("the bus refused an event")
    dynamodb.update_item(
        TableName=os.environ["EVENTS_TABLE"],
        Key={"eventId": {"S": event_id}},
        UpdateExpression="SET #status = :done, silverKey = :key",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":done": {"S": "PROCESSED"}, ":key": {"S": key}},
    )
