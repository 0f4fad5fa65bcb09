"""The versions of an event type's schema, as they are kept. Apart from `schemas`, which compiles
them: a type without a schema needs none of that.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schema:
    """One version of the schema of an event type. `text` is the JSON as it was sent."""

    event_type: str
    version: int
    text: str
    created_at: str
    created_by: str

    def to_dict(self) -> dict[str, Any]:
        """The schema as the API shows it."""
        return {
            "eventType": self.event_type,
            "version": self.version,
            "schema": json.loads(self.text),
            "createdAt": self.created_at,
        }

    def is_same(self, schema: Any) -> bool:
        """Whether `schema` says the same, whatever its blanks and the order of its members."""
        return _canonical(json.loads(self.text)) == _canonical(schema)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
