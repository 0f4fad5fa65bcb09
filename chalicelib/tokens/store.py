"""Tokens in DynamoDB: one item each, `pk` = `TOKEN#<id>`, removed by TTL after expiry."""

from typing import Any

import msgspec

from chalicelib.aws.dynamodb import Table, from_item, to_item
from chalicelib.aws.faults import aws_code, aws_faults
from chalicelib.core import clock
from chalicelib.core.errors import ConflictError, TransientError
from chalicelib.tokens.model import Token


class TokenStore:
    """Reads and writes tokens."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = Table(client, table)

    def put(self, token: Token, replace: bool = False) -> None:
        """Store a token; `ConflictError` if the id is taken, unless `replace`. One call."""
        expires = token.expires_at
        ttl = None if expires is None else int(clock.from_text(expires).timestamp())
        item = to_item({**msgspec.to_builtins(token), **_key(token.token_id), "ttl": ttl})
        if replace:
            self._client.put_item(TableName=self._table.name, Item=item)
            return
        is_new = "attribute_not_exists(pk)"
        if not self._table.write("put_item", Item=item, ConditionExpression=is_new).made:
            raise ConflictError("a token of that id exists")

    def get(self, token_id: str) -> Token | None:
        """The token; read consistently, so that a revoked one is gone at once. One call."""
        item = self._table.get(to_item(_key(token_id)))
        return _to_token(item) if item else None

    def note_use(self, token_id: str, hour: str) -> None:
        """Note that a token was used in an hour, unless it has been revoked meanwhile. One call.

        Raises `TransientError` with the code from AWS when the SDK's retries did not help.
        """
        try:
            self._client.update_item(
                TableName=self._table.name,
                Key=to_item(_key(token_id)),
                UpdateExpression="SET lastUsedAt = :hour",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues=to_item({":hour": hour}),
            )
        except aws_faults() as error:
            raise TransientError("the use was not noted", code=aws_code(error)) from error

    def delete(self, token_id: str) -> bool:
        """Remove a token; False if there was none. One call."""
        answer = self._client.delete_item(
            TableName=self._table.name, Key=to_item(_key(token_id)), ReturnValues="ALL_OLD"
        )
        return "Attributes" in answer

    def page(self, limit: int, after: str | None) -> tuple[list[Token], str | None]:
        """Up to `limit` tokens after the id `after`, in no order, and the id to go on after."""
        start = {"ExclusiveStartKey": to_item(_key(after))} if after else {}
        answer = self._client.scan(TableName=self._table.name, Limit=limit, **start)
        last = answer.get("LastEvaluatedKey")
        resume = last["pk"]["S"].removeprefix("TOKEN#") if last else None
        return [_to_token(item) for item in answer["Items"]], resume


def _key(token_id: str) -> dict[str, str]:
    return {"pk": f"TOKEN#{token_id}"}


def _to_token(item: Any) -> Token:
    return msgspec.convert(from_item(item), Token)
