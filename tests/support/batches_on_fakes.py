"""Ingest of batches on fakes."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chalicelib.aws.threads import in_turn
from chalicelib.core.errors import FieldError, SchemaViolationError
from chalicelib.events.batch import Form
from chalicelib.events.ingest import IngestDeps
from chalicelib.events.ingest_batch import Batch, Verdict, ingest_batch
from chalicelib.events.message import EventsMessage
from tests.support.factories import Clock, decode_events, unique
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventStore

LIMIT = 1000


class Schemas:
    """A schema, version 3, for the types in `needing_n`: the data need a member `n`."""

    def __init__(self) -> None:
        self.needing_n: set[str] = set()
        self.before_check: Callable[[], None] = lambda: None
        self.loaded: list[set[str]] = []

    def load_many(self, event_types: Iterable[str], /) -> None:
        self.loaded.append(set(event_types))

    def check(self, event_type: str, data: Any, is_json: bool, /) -> int | None:
        self.before_check()
        if event_type not in self.needing_n:
            return None
        if "n" not in data:
            raise SchemaViolationError("no n", [FieldError("/n", "is required")])
        return 3


class Platform:
    """Ingest of batches, and what it works with."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        self.ledger = FakeEventStore(self.aws)
        self.lake = FakeLake(self.aws)
        self.schemas = Schemas()
        self._numbers = iter(range(1, 1000))

    def take(self, body: bytes, form: Form = Form.PLAIN, owner: str = "alice") -> list[Verdict]:
        """What becomes of a body."""
        self.aws.calls.clear()
        deps = IngestDeps(
            ledger=self.ledger,
            lake=self.lake,
            queue=self.queue,
            check_schema=self.schemas.check,
            load_schemas=self.schemas.load_many,
            max_event_bytes=LIMIT,
            now=self.clock,
            random=lambda count: next(self._numbers).to_bytes(count, "big"),
            each=in_turn,
        )
        return ingest_batch(Batch(body, form, owner, unique("request")), deps)

    def send(self, *items: Any, owner: str = "alice") -> list[Verdict]:
        """What becomes of items: bytes as they are, anything else as JSON."""
        return self.take(body_of(items), owner=owner)

    def messages(self) -> list[EventsMessage]:
        """The messages that were sent."""
        return [decode_events(body) for body in self.queue.sent]


def body_of(items: Sequence[Any]) -> bytes:
    """A body of `POST /events/batch`."""
    texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    return b'{"events":[' + b",".join(texts) + b"]}"


def told(verdicts: Sequence[Verdict]) -> list[str]:
    """The words of verdicts, in order."""
    assert [verdict.index for verdict in verdicts] == list(range(len(verdicts)))
    return [str(verdict.outcome) for verdict in verdicts]
