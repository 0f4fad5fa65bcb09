"""A function that does AWS calls under another function's role, and says how each went.

It is deployed as it stands, so it imports nothing of this project.
"""

from functools import cache
from typing import Any


def handler(event: list[dict[str, Any]], context: Any) -> list[str]:
    """Make calls `{"service", "operation", "arguments"}`; for each "allowed", or the error code."""
    return [_outcome(**call) for call in event]


def _outcome(service: str, operation: str, arguments: dict[str, Any]) -> str:
    from botocore.exceptions import ClientError

    try:
        getattr(_client(service), operation)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"


@cache
def _client(service: str) -> Any:
    return _session().create_client(service)


@cache
def _session() -> Any:
    import botocore.session

    return botocore.session.Session()
