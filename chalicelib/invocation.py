"""What a function that no request started knows of its own run."""

from collections.abc import Callable
from typing import Any

from chalicelib.errors import InvalidRequestError

_LONGEST_SECONDS = 30 * 86400


class Invocation:
    """What Lambda handed to a function, whatever it is; set as a handler's `event_class`.

    Chalice's own classes take events apart first: that for schedules fails on what an operator
    sends by hand, those for S3 and SNS read the first record only, that for streams fails on a
    malformed one.
    """

    def __init__(self, event: Any, context: Any) -> None:
        self._event = event if isinstance(event, dict) else {}
        self.context = context

    def to_dict(self) -> dict[str, Any]:
        """The payload."""
        return self._event

    @property
    def run_id(self) -> str:
        """The id under which this run is logged."""
        return str(self.context.aws_request_id)

    def seconds(self, name: str) -> int | None:
        """The option `name`, in seconds; None when it was not given."""
        value = self._event.get(name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= _LONGEST_SECONDS):
            raise InvalidRequestError.at(f"/{name}", "must be a whole number of seconds")
        return value


def seconds_left(context: Any) -> Callable[[], float]:
    """A function that gives the seconds until Lambda ends this run."""
    return lambda: context.get_remaining_time_in_millis() / 1000
