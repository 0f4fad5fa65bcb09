"""A function that does one AWS call under another function's role, and says how that went.

It is deployed as it stands, so it imports nothing of this project.
"""

from typing import Any


def handler(event: dict[str, Any], context: Any) -> str:
    """Make the call `{"service", "operation", "arguments"}`; "allowed", or AWS's error code."""
    import botocore.session
    from botocore.exceptions import ClientError

    client = botocore.session.Session().create_client(event["service"])
    try:
        getattr(client, event["operation"])(**event["arguments"])
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"
