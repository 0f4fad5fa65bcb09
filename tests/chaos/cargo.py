"""What the clients send: events of mixed types, each told from all others by its payload's hash.

A `Thing` is one event that somebody wants kept. Every payload holds a mark that no other has, so
whatever lies in a store is found to belong to one of them, acknowledged or not.
"""

import hashlib
import hmac
import json
import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from standardwebhooks import Webhook

JSON = "application/json"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GITHUB_SECRET = "a secret of the rehearsal"
CHECKED = "chaos.checked"
CHECKED_SCHEMA = {"type": "object", "required": ["mark", "amount"]}
ORDER = "chaos.order"
"""The type whose processor is broken for a while."""
WEBHOOKS = "webhooks"
"""The owner of what comes as webhooks."""
_MAX_PAD = 6000


class Wish(StrEnum):
    """What is to become of a thing."""

    KEPT = "kept"
    REFUSED = "refused"
    """Kept as REJECTED: its content is wrong."""
    CONFLICT = "conflict"
    """Refused and not kept: its key stands for another content."""


@dataclass
class Thing:
    """One event as it was sent, and what its sender was told."""

    payload: bytes
    data: Any
    event_type: str
    owner: str
    keyed: bool
    wish: Wish = Wish.KEPT
    tries: int = 0
    acknowledged: set[str] = field(default_factory=set)
    """The ids under which it was acknowledged."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()


@dataclass
class Parcel:
    """One request, with the things in it; `after` is sent when this one has been acknowledged."""

    path: str
    headers: dict[str, str]
    body: bytes
    things: list[Thing]
    owner: str
    is_batch: bool = False
    after: "Parcel | None" = None

    @property
    def keyed(self) -> bool:
        """Whether sending it again is sending the same."""
        return all(thing.keyed for thing in self.things)


class Sender:
    """Makes parcels, from random numbers of its own."""

    def __init__(
        self, numbers: random.Random, owners: list[str], run: str, largest_batch: int
    ) -> None:
        self._numbers = numbers
        self._owners = owners
        self._run = run
        self._largest_batch = largest_batch
        self._made = 0

    def parcel(self) -> Parcel:
        """The next request."""
        kinds = {
            self._plain: 36, self._cloud_event: 16, self._drill: 8, self._invalid: 4,
            self._violation: 5, self._standard: 5, self._github: 2, self._conflict: 8,
            self._batch: 4, self._cloud_batch: 2,
        }  # fmt: skip
        (make,) = self._numbers.choices(list(kinds), list(kinds.values()))
        return make(self._numbers.choice(self._owners))

    def _mark(self) -> str:
        self._made += 1
        return f"{self._run}-{self._made}"

    def _pad(self) -> str:
        letters = 'abc ü€漢"\\\n0'
        size = int(self._numbers.random() ** 4 * _MAX_PAD)
        return "".join(self._numbers.choices(letters, k=size))

    def _json(self, value: Any) -> bytes:
        ascii_only = self._numbers.random() < 0.5
        return json.dumps(value, ensure_ascii=ascii_only).encode()

    def _event(self, event_type: str, **more: Any) -> dict[str, Any]:
        return {"eventType": event_type, "mark": self._mark(), "pad": self._pad(), **more}

    def _single(self, thing: Thing, content_type: str = JSON, **headers: str) -> Parcel:
        sent = {"Content-Type": content_type, **headers}
        return Parcel("/events", sent, thing.payload, [thing], thing.owner)

    def _plain(self, owner: str) -> Parcel:
        kind = self._numbers.choice(("demo", ORDER, ORDER, CHECKED, "chaos/odd type"))
        return self._keyed_or_not(owner, self._event(kind, amount=self._numbers.randrange(10**6)))

    def _keyed_or_not(self, owner: str, value: dict[str, Any]) -> Parcel:
        keyed = self._numbers.random() < 0.75
        thing = Thing(self._json(value), value, value["eventType"], owner, keyed)
        headers = {"Idempotency-Key": f"key {value['mark']}"} if keyed else {}
        return self._single(thing, **headers)

    def _drill(self, owner: str) -> Parcel:
        kinds = ("transient", "transient", "transient", "permanent", "permanent", "crash", "none")
        kind = self._numbers.choice(kinds)
        failures = self._numbers.randrange(1, 3)
        return self._keyed_or_not(owner, self._event(f"eventline.drill.{kind}", failures=failures))

    def _cloud_event(self, owner: str) -> Parcel:
        mark, data = self._mark(), {"pad": self._pad()}
        data["mark"] = mark
        context = {"specversion": "1.0", "id": mark, "source": "/chaos", "type": "chaos.cloud"}
        if self._numbers.random() < 0.5:
            value = {**context, "datacontenttype": JSON, "data": data}
            thing = Thing(self._json(value), data, "chaos.cloud", owner, keyed=True)
            return self._single(thing, "application/cloudevents+json")
        thing = Thing(self._json(data), data, "chaos.cloud", owner, keyed=True)
        return self._single(thing, **{f"ce-{name}": value for name, value in context.items()})

    def _invalid(self, owner: str) -> Parcel:
        broken = b'{"eventType":"demo","mark":"' + self._mark().encode() + b'",'
        return self._single(Thing(broken, None, "", owner, keyed=True, wish=Wish.REFUSED))

    def _violation(self, owner: str) -> Parcel:
        value = self._event(CHECKED)
        thing = Thing(self._json(value), value, CHECKED, owner, keyed=True, wish=Wish.REFUSED)
        return self._single(thing)

    def _conflict(self, owner: str) -> Parcel:
        """An event, and then another content and type under the same key."""
        first, second = self._event("demo"), self._event("chaos.usurper")
        key = {"Idempotency-Key": f"contested {first['mark']}"}
        parcels = []
        for value, wish in ((first, Wish.KEPT), (second, Wish.CONFLICT)):
            thing = Thing(
                self._json(value), value, value["eventType"], owner, keyed=True, wish=wish
            )
            parcels.append(self._single(thing, **key))
        parcels[0].after = parcels[1]
        return parcels[0]

    def _standard(self, _owner: str) -> Parcel:
        value = {"type": "invoice.paid", "mark": self._mark(), "pad": self._pad()}
        thing = Thing(self._json(value), value, "standard.invoice.paid", WEBHOOKS, keyed=True)
        now = datetime.now(UTC)
        message_id = f"msg_{uuid.uuid4().hex}"
        headers = {
            "Content-Type": JSON,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(STANDARD_SECRET).sign(
                message_id, now, thing.payload.decode()
            ),
        }
        return Parcel("/webhooks/standard", headers, thing.payload, [thing], WEBHOOKS)

    def _github(self, _owner: str) -> Parcel:
        letters = "".join(self._numbers.choices("abcdefghijklmnopqrstuvwxyz", k=20))
        value = {
            "action": "completed",
            "mark": self._mark(),
            "workflow_run": {"name": letters, "conclusion": "failure", "head_branch": "main"},
            "repository": {"full_name": "chaos/rehearsal"},
        }
        thing = Thing(
            self._json(value), value, "github.workflow_run.completed", WEBHOOKS, keyed=True
        )
        signature = hmac.new(GITHUB_SECRET.encode(), thing.payload, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": JSON,
            "X-GitHub-Event": "workflow_run",
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        return Parcel("/webhooks/github", headers, thing.payload, [thing], WEBHOOKS)

    def _batch(self, owner: str) -> Parcel:
        things = []
        for _ in range(self._numbers.randrange(2, self._largest_batch)):
            chance = self._numbers.random()
            kinds = ("demo", ORDER, "eventline.drill.transient", "eventline.drill.permanent")
            (kind,) = self._numbers.choices(kinds, (60, 30, 6, 1))
            value = self._event(kind, failures=1)
            keyed = chance < 0.7
            if keyed:
                value["idempotencyKey"] = f"item {value['mark']}"
            wish = Wish.KEPT
            if chance > 0.97:
                # Without a type it is refused.
                del value["eventType"]
                wish = Wish.REFUSED
            things.append(Thing(self._json(value), value, kind, owner, keyed, wish))
        body = b'{"events":[' + b",".join(thing.payload for thing in things) + b"]}"
        return Parcel("/events/batch", {"Content-Type": JSON}, body, things, owner, is_batch=True)

    def _cloud_batch(self, owner: str) -> Parcel:
        things = []
        for _ in range(self._numbers.randrange(2, self._largest_batch)):
            mark = self._mark()
            data = {"mark": mark, "pad": self._pad()}
            context = {"specversion": "1.0", "id": mark, "source": "/chaos/batch"}
            value = {**context, "type": "chaos.cloud", "data": data}
            things.append(Thing(self._json(value), data, "chaos.cloud", owner, keyed=True))
        body = b"[" + b",".join(thing.payload for thing in things) + b"]"
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        return Parcel("/events", headers, body, things, owner, is_batch=True)
