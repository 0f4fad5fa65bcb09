"""The table of alerts in moto."""

import pytest

from chalicelib.alerts.store import AlertStore
from tests.support.alert_world import SHARDS, OneAtATime, World
from tests.support.moto_aws import client


@pytest.fixture
def world(moto: None) -> World:
    client("dynamodb").create_table(
        TableName="alerts",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "allShard", "listKey")
        ],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-time",
                "KeySchema": [
                    {"AttributeName": "allShard", "KeyType": "HASH"},
                    {"AttributeName": "listKey", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    serial = OneAtATime(client("dynamodb"))
    return World(serial, AlertStore(serial, "alerts", SHARDS))
