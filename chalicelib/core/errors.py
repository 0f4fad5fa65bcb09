"""The errors Eventline raises on purpose.

One base class. A subclass's docstring says when it is raised; what a caller needs to know travels
as data. `status` is the HTTP status the API answers with, `code` the stable word that programs
match on (RFC 9457 leaves the wording of `title` and `detail` free), `retryable` whether the same
request may succeed later.
"""

from collections.abc import Sequence

from msgspec import Struct


class FieldError(Struct, frozen=True):
    """One fault in what was sent: `pointer` says where (a JSON Pointer, RFC 6901, into the body,
    or `/query/<name>`, `/header/<name>`), `detail` what is wrong with it."""

    pointer: str
    detail: str


class EventlineError(Exception):
    """Base of every error below; raised itself only when something is broken on our side."""

    status = 500
    code = "internal-error"
    title = "Internal error"
    retryable = False

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.event_id: str | None = None
        """The event under which the refused payload is kept (promise 4); None: it is not kept."""


class InvalidRequestError(EventlineError):
    """Raised when a request cannot be understood; `errors` names each field at fault."""

    status = 400
    code = "invalid-request"
    title = "Invalid request"

    @classmethod
    def at(cls, pointer: str, detail: str) -> "InvalidRequestError":
        """The error for a single field."""
        return cls(f"{pointer or 'body'}: {detail}", [FieldError(pointer, detail)])


class InvalidJsonError(InvalidRequestError):
    """Raised when a body is no JSON that every consumer would read alike (RFC 8259, RFC 7493)."""

    code = "invalid-json"
    title = "Invalid JSON"


class SchemaViolationError(InvalidRequestError):
    """Raised when an event breaks the JSON Schema of its type; `errors` point into its data."""

    status = 422
    code = "schema-violation"
    title = "Schema violation"


class UnauthenticatedError(EventlineError):
    """Raised when a request carries no identity the gateway vouches for."""

    status = 401
    code = "unauthorized"
    title = "Unauthorized"


class ForbiddenError(EventlineError):
    """Raised when a valid token lacks the scope that a route asks for."""

    status = 403
    code = "forbidden"
    title = "Forbidden"


class NotFoundError(EventlineError):
    """Raised when a thing is not there, or belongs to another owner: the two look alike."""

    status = 404
    code = "not-found"
    title = "Not found"


class NotReadyError(EventlineError):
    """Raised when a silver document is asked for before there is one."""

    status = 409
    code = "not-processed"
    title = "Not processed"


class ConflictError(EventlineError):
    """Raised when a thing of that name exists already."""

    status = 409
    code = "conflict"
    title = "Conflict"


class LimitReachedError(EventlineError):
    """Raised when there are as many of a thing as there can be: trying again does not help, until
    one of them goes or the limit is raised."""

    status = 409
    code = "limit-reached"
    title = "Limit reached"


class PreconditionFailedError(EventlineError):
    """Raised when a thing has changed since the caller read it."""

    status = 412
    code = "precondition-failed"
    title = "Precondition failed"


class PreconditionRequiredError(EventlineError):
    """Raised when a change does not say which state it was made for (RFC 6585, section 3)."""

    status = 428
    code = "precondition-required"
    title = "Precondition required"


class PayloadTooLargeError(EventlineError):
    """Raised when an event is larger than the stage allows."""

    status = 413
    code = "payload-too-large"
    title = "Payload too large"


class HeadersTooLargeError(EventlineError):
    """Raised when the headers of a request are too many or too long (RFC 6585, section 5)."""

    status = 431
    code = "headers-too-large"
    title = "Request header fields too large"


class UnsupportedMediaTypeError(EventlineError):
    """Raised when a body comes in a format that the route does not read."""

    status = 415
    code = "unsupported-media-type"
    title = "Unsupported media type"


class UnsupportedCodingError(UnsupportedMediaTypeError):
    """Raised when a body comes in a content coding that is not read here; the answer names the
    one that is, in `Accept-Encoding` (RFC 9110, section 15.5.16)."""


class IdempotencyConflictError(EventlineError):
    """Raised when an idempotency key comes again with another body."""

    status = 422
    code = "idempotency-conflict"
    title = "Idempotency key reused"


class UnavailableError(EventlineError):
    """Raised when AWS did not do what was asked; nothing was acknowledged, so send it again."""

    status = 503
    code = "unavailable"
    title = "Service unavailable"
    retryable = True


class ConfigurationError(EventlineError):
    """Raised at start when an environment variable is missing or cannot be used."""

    code = "configuration"


class ProcessingError(EventlineError):
    """Base of what a processor raises to say how its failure is to be treated."""

    code = "processing-failed"


class PermanentError(ProcessingError):
    """Raise it from a processor when trying again cannot help: FAILED at the first attempt."""

    def __init__(self, detail: str, code: str = "permanent") -> None:
        super().__init__(detail)
        self.code = code


class TransientError(ProcessingError):
    """Raise it from a processor when a later attempt may succeed: retried with back-off."""

    retryable = True

    def __init__(self, detail: str, code: str = "transient") -> None:
        super().__init__(detail)
        self.code = code


class ForeignMessageError(EventlineError):
    """Raised for a queue message that Eventline did not write: it goes to the dead-letter queue."""

    code = "foreign-message"


class BatchIncompleteError(EventlineError):
    """Raised at the end of a batch that has messages left to retry, so that SQS keeps them."""

    code = "batch-incomplete"
    retryable = True


_OF_GATEWAYS = {
    "bad-request": "Bad request",
    "gateway-timeout": "Gateway timeout",
    "method-not-allowed": "Method not allowed",
    "too-many-requests": "Too many requests",
}
"""Problems that API Gateway or Chalice answer themselves, and no error of ours stands for."""


def title_of(code: str) -> str:
    """The title of a problem with this code."""
    titles = {error.code: error.title for error in _all(EventlineError)}
    return (_OF_GATEWAYS | titles)[code]


def _all(error: type[EventlineError]) -> list[type[EventlineError]]:
    return [error, *(deeper for one in error.__subclasses__() for deeper in _all(one))]
