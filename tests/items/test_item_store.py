"""Removing an item when the SDK had to send the removal again."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import NotFoundError
from chalicelib.items.model import Guard
from chalicelib.items.store import ItemStore


class RefusingClient:
    """DynamoDB after a removal: the condition fails, since there is a tombstone."""

    def __init__(self, retries: int, at: str) -> None:
        self._retries, self._at = retries, at

    def update_item(self, **_arguments: Any) -> None:
        answer: Any = {
            "Error": {"Code": "ConditionalCheckFailedException"},
            "Item": {"tombstoneAt": {"S": self._at}},
            "ResponseMetadata": {"RetryAttempts": self._retries},
        }
        raise ClientError(answer, "UpdateItem")


NOON = "2026-03-14T12:00:00.000Z"


def store(retries: int, at: str = NOON) -> ItemStore:
    return ItemStore(RefusingClient(retries, at), "items", 1)


_ANYONES = Guard(None, None, NOON)


def test_a_removal_whose_answer_was_lost_was_made() -> None:
    store(retries=1).delete("0190f2a5-7a41-7cc1-8f6e-000000000001", _ANYONES)


@pytest.mark.parametrize(("retries", "at"), [(0, NOON), (1, "2026-03-14T11:59:59.999Z")])
def test_a_removal_of_what_another_removed_finds_none(retries: int, at: str) -> None:
    with pytest.raises(NotFoundError):
        store(retries, at).delete("0190f2a5-7a41-7cc1-8f6e-000000000001", _ANYONES)
