"""Schemas in memory: the store's interface and conditions, without AWS."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from chalicelib.schemas.store import Head, Listed, Schema, SchemaStore
from tests.support.fake_stores import FakeAws

_BATCH = 100


@dataclass
class _Rows:
    heads: dict[str, Head] = field(default_factory=dict)
    versions: dict[tuple[str, int], Schema] = field(default_factory=dict)


class FakeSchemaStore(SchemaStore):
    """Schemas."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws
        self._rows = _Rows()

    def head(self, event_type: str) -> Head | None:
        return self._aws.call("GetItem", lambda: self._rows.heads.get(event_type))

    def version(self, event_type: str, version: int) -> Schema | None:
        return self._aws.call("GetItem", lambda: self._rows.versions.get((event_type, version)))

    def active(self, event_types: Iterable[str]) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        wanted = list(dict.fromkeys(event_types))
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            found |= self._aws.call("BatchGetItem", partial(self._active, some))
        return found

    def _active(self, event_types: list[str]) -> dict[str, Schema]:
        heads = self._rows.heads
        return {
            name: heads[name].schema for name in event_types if name in heads and heads[name].active
        }

    def add(self, schema: Schema, before: Head | None) -> bool:
        def effect() -> bool:
            now = self._rows.heads.get(schema.event_type)
            key = (schema.event_type, schema.version)
            if now != before or key in self._rows.versions:
                return False
            self._rows.heads[schema.event_type] = Head(schema, active=True)
            self._rows.versions[key] = schema
            return True

        return self._aws.call("TransactWriteItems", effect)

    def end(self, event_type: str) -> bool:
        def effect() -> bool:
            head = self._rows.heads.get(event_type)
            if head is None or not head.active:
                return False
            self._rows.heads[event_type] = Head(head.schema, active=False)
            return True

        return self._aws.call("UpdateItem", effect)

    def page(self, limit: int, after: str | None) -> tuple[list[Listed], str | None]:
        def effect() -> list[Listed]:
            heads = [head.schema for head in self._rows.heads.values() if head.active]
            return [
                Listed(schema.event_type, schema.version, schema.created_at)
                for schema in sorted(heads, key=lambda schema: schema.event_type.encode())
                if after is None or schema.event_type.encode() > after.encode()
            ]

        found = self._aws.call("Query", effect)
        page = found[:limit]
        return page, page[-1].event_type if len(found) > limit else None

    def versions(
        self, event_type: str, limit: int, below: int | None
    ) -> tuple[list[Listed], int | None]:
        def effect() -> list[Listed]:
            return [
                Listed(name, number, schema.created_at)
                for (name, number), schema in sorted(self._rows.versions.items(), reverse=True)
                if name == event_type and (below is None or number < below)
            ]

        found = self._aws.call("Query", effect)
        page = found[:limit]
        return page, page[-1].version if len(found) > limit else None
