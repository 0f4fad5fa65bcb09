"""What the AWS SDK raises. Who calls no AWS imports none of it: `except` asks only when something
was raised."""


def aws_faults(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """The classes to catch: a refusal, a time-out, no connection, half an answer; and `others`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ClientError, ResponseParserError, *others


def is_aws_fault(error: BaseException) -> bool:
    """Whether the AWS SDK raised `error`."""
    return isinstance(error, aws_faults())


def aws_code(error: BaseException) -> str:
    """The AWS error code of an SDK error ("SlowDown"), or its class's name."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
