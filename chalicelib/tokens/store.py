"""Tokens in DynamoDB: one item each, `pk` = `TOKEN#<id>`, gone by TTL some time after expiry."""

from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.dynamodb import from_item, to_item
from chalicelib.core import clock
from chalicelib.core.errors import ConflictError
from chalicelib.tokens.model import Token


class TokenStore:
    """Reads and writes tokens."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def put(self, token: Token, replace: bool = False) -> None:
        """Store a token; `ConflictError` if the id is taken, unless `replace`. One call."""
        expires = token.expires_at
        item = {
            "pk": _pk(token.token_id),
            "tokenId": token.token_id,
            "secretSha256": token.secret_sha256,
            "owner": token.owner,
            "scopes": list(token.scopes),
            "createdAt": token.created_at,
            "expiresAt": expires,
            "ttl": None if expires is None else int(clock.from_text(expires).timestamp()),
        }
        is_new = {} if replace else {"ConditionExpression": "attribute_not_exists(pk)"}
        try:
            self._client.put_item(TableName=self._table, Item=to_item(item), **is_new)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise ConflictError("a token of that id exists") from error
            raise

    def get(self, token_id: str) -> Token | None:
        """The token; read consistently, so that a revoked one is gone at once. One call."""
        answer = self._client.get_item(
            TableName=self._table, Key={"pk": {"S": _pk(token_id)}}, ConsistentRead=True
        )
        return _to_token(answer["Item"]) if "Item" in answer else None

    def delete(self, token_id: str) -> bool:
        """Remove a token; False if there was none. One call."""
        answer = self._client.delete_item(
            TableName=self._table, Key={"pk": {"S": _pk(token_id)}}, ReturnValues="ALL_OLD"
        )
        return "Attributes" in answer

    def page(self, limit: int, after: str | None) -> tuple[list[Token], str | None]:
        """Up to `limit` tokens after the id `after`, in no order, and the id to go on after."""
        start = {"ExclusiveStartKey": {"pk": {"S": _pk(after)}}} if after else {}
        answer = self._client.scan(TableName=self._table, Limit=limit, **start)
        last = answer.get("LastEvaluatedKey")
        resume = last["pk"]["S"].removeprefix("TOKEN#") if last else None
        return [_to_token(item) for item in answer["Items"]], resume


def _pk(token_id: str) -> str:
    return f"TOKEN#{token_id}"


def _to_token(item: dict[str, Any]) -> Token:
    values = from_item(item)
    return Token(
        token_id=values["tokenId"],
        secret_sha256=values["secretSha256"],
        owner=values["owner"],
        scopes=tuple(values["scopes"]),
        created_at=values["createdAt"],
        expires_at=values.get("expiresAt"),
    )
