"""What an error says of a failed attempt."""

import traceback

from chalicelib.domain.events import Failure
from chalicelib.errors import ProcessingError, aws_code, is_aws_fault

_MESSAGE_LIMIT = 500


def classify(error: BaseException) -> Failure:
    """Permanent and transient as the processor said; AWS's refusals are transient; the rest is
    unknown, and so worth another attempt."""
    if isinstance(error, ProcessingError):
        kind = "transient" if error.retryable else "permanent"
        return Failure(kind, error.code, error.detail[:_MESSAGE_LIMIT])
    if is_aws_fault(error):
        return Failure("transient", aws_code(error), "AWS did not do what was asked")
    return Failure("unknown", type(error).__name__, str(error)[:_MESSAGE_LIMIT])


def where(error: BaseException) -> str:
    """File and line that raised `error`: for logs, since its message may quote the payload."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
