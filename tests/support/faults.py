"""What goes wrong with an AWS call, seen from the caller."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError


class ProcessKilledError(BaseException):
    """The process ends here. Not an Exception: no code of ours may catch it."""


class Fault(StrEnum):
    """One call's bad luck."""

    REFUSED = "refused"
    """AWS answers with an error and does nothing."""
    ANSWER_LOST = "answer lost"
    """AWS does it, but the caller only sees a time-out."""
    REPEATED = "repeated"
    """The SDK sends it twice, since the first answer was lost; the second answer arrives."""
    KILLED_BEFORE = "killed before"
    """The process dies before the call."""
    KILLED_AFTER = "killed after"
    """The process dies when the call is done."""


def refusal(operation: str, code: str = "InternalServerError") -> ClientError:
    """The SDK's error for an AWS error answer."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": "made up by a test"},
            "ResponseMetadata": {"HTTPStatusCode": 500},
        },
        operation,
    )


def no_answer() -> ReadTimeoutError:
    """The SDK's error for an answer that does not come."""
    return ReadTimeoutError(endpoint_url="https://aws.invalid")


def suffer(fault: Fault | None, operation: str, effect: Callable[[], Any]) -> Any:
    """Make the call as `fault` has it; returns what the caller gets."""
    if fault is Fault.REFUSED:
        raise refusal(operation)
    if fault is Fault.KILLED_BEFORE:
        raise ProcessKilledError(operation)
    answer = effect()
    if fault is Fault.ANSWER_LOST:
        raise no_answer()
    if fault is Fault.KILLED_AFTER:
        raise ProcessKilledError(operation)
    return effect() if fault is Fault.REPEATED else answer
