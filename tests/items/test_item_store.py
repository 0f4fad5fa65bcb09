"""Removing an item when the SDK had to send the removal again."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import NotFoundError
from chalicelib.items.model import Guard
from chalicelib.items.store import ItemStore


class RefusingClient:
    """DynamoDB after a removal: the condition fails, since there is no item any more."""

    def __init__(self, retries: int) -> None:
        self._retries = retries

    def delete_item(self, **_arguments: Any) -> None:
        answer: Any = {
            "Error": {"Code": "ConditionalCheckFailedException"},
            "ResponseMetadata": {"RetryAttempts": self._retries},
        }
        raise ClientError(answer, "DeleteItem")


def store(retries: int) -> ItemStore:
    return ItemStore(RefusingClient(retries), "items", 1)


_ANYONES = Guard(None, None, "2026-03-14T12:00:00.000Z")


def test_a_removal_whose_answer_was_lost_was_made() -> None:
    store(retries=1).delete("0190f2a5-7a41-7cc1-8f6e-000000000001", _ANYONES)


def test_a_removal_of_no_item_at_the_first_try_finds_none() -> None:
    with pytest.raises(NotFoundError):
        store(retries=0).delete("0190f2a5-7a41-7cc1-8f6e-000000000001", _ANYONES)
