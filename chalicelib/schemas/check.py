"""Check events against the schema of their type.

What was read is kept for a while: a schema, and that a type has none. So an event costs no call,
and a change reaches the other processes within that while; the process that made it forgets at
once.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from chalicelib.aws.faults import aws_faults
from chalicelib.core.errors import (
    FieldError,
    InvalidRequestError,
    SchemaViolationError,
    UnavailableError,
)
from chalicelib.core.log import log
from chalicelib.core.strict_json import parse_json
from chalicelib.schemas.compiler import Compiled, compile_schema, violations
from chalicelib.schemas.store import Schema, SchemaStore

DEFAULT_AGE = 60.0
MAX_COMPILED, MAX_ABSENT = 50, 1_000
"""Apart, so that a sender of ever new types pushes no schema out."""
_RETRY_SECONDS = 5.0
"""How long an old schema is used before DynamoDB is asked again, while it fails."""


class _Known(Struct):
    """What is known of a type: its schema, or that it has none; until when to believe it. It is
    compiled when the first event is checked: of many that are read together, some may take long."""

    schema: Schema | None
    fresh_until: float
    compiled: "Compiled | None" = None


class SchemaCheck:
    """Checks events; safe to use from several threads. `max_age` is in seconds."""

    def __init__(
        self,
        store: SchemaStore,
        max_age: float = DEFAULT_AGE,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._max_age = max_age
        self._seconds = seconds
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, _Known] = OrderedDict()
        self._absent: OrderedDict[str, _Known] = OrderedDict()
        self._changes = 0

    def check(self, event_type: str, data: object, is_json: bool, *, below: str = "") -> int | None:
        """The version that the event's data was checked against; None if its type has no schema.

        Raises `SchemaViolationError`; its pointers go into the data, below the pointer `below`.
        Data that is no JSON breaks every schema. One call, or none while the schema is fresh; with
        DynamoDB out of reach an old one is used, and without one its error is raised.
        """
        known = self._load([event_type])[event_type]
        if known.schema is None:
            return None
        if known.compiled is None:
            known.compiled = _compile(known.schema)
        found = (
            violations(known.compiled, data)
            if is_json
            else [FieldError("", "is no JSON, which the schema of this type describes")]
        )
        if found:
            raise SchemaViolationError(
                f"the data breaks version {known.schema.version} of the schema of its type",
                [FieldError(below + fault.pointer, fault.detail) for fault in found],
            )
        return known.schema.version

    def load_many(self, event_types: Iterable[str]) -> None:
        """Read what is not fresh of these types, a hundred in one call."""
        self._load(event_types)

    def forget(self, event_type: str) -> None:
        """Let the next event of the type read its schema anew."""
        with self._lock:
            self._changes += 1
            self._compiled.pop(event_type, None)
            self._absent.pop(event_type, None)

    def _load(self, event_types: Iterable[str]) -> dict[str, _Known]:
        now = self._seconds()
        with self._lock:
            changes = self._changes
            found = {name: self._find(name) for name in event_types}
        known = {name: entry for name, entry in found.items() if entry is not None}
        due = [name for name in found if name not in known or known[name].fresh_until <= now]
        if not due:
            return known
        try:
            active = self._store.active(due)
        except aws_faults(UnavailableError):
            if any(name not in known for name in due):
                raise
            log.warning("schemas not read, old ones used", exc_info=True)
            later = now + _RETRY_SECONDS
            read = {name: replace(known[name], fresh_until=later) for name in due}
        else:
            until = now + self._max_age
            read = {name: _know(active.get(name), known.get(name), until) for name in due}
        with self._lock:
            # What was read before a change here is used once, and not kept.
            if changes == self._changes:
                for name, entry in read.items():
                    self._keep(name, entry)
        return known | read

    def _find(self, name: str) -> _Known | None:
        for kept in (self._compiled, self._absent):
            if name in kept:
                kept.move_to_end(name)
                return kept[name]
        return None

    def _keep(self, name: str, entry: _Known) -> None:
        kept, other, most = (
            (self._absent, self._compiled, MAX_ABSENT)
            if entry.schema is None
            else (self._compiled, self._absent, MAX_COMPILED)
        )
        other.pop(name, None)
        kept[name] = entry
        kept.move_to_end(name)
        while len(kept) > most:
            kept.popitem(last=False)


def _know(schema: Schema | None, before: _Known | None, until: float) -> _Known:
    """What was read; what was compiled before is used again if it is the same version."""
    is_same = before and before.schema and schema and before.schema.version == schema.version
    return _Known(schema, until, before.compiled if before and is_same else None)


def _compile(schema: Schema) -> Compiled:
    try:
        return compile_schema(parse_json(schema.text.encode(), exact=True), schema.asserts_format)
    except InvalidRequestError as error:
        # It was accepted once, so this is no fault of the event's sender.
        log.error(
            "a stored schema cannot be used",
            extra={"eventType": schema.event_type, "version": schema.version},
            exc_info=True,
        )
        raise UnavailableError("the schema of this type cannot be used") from error
