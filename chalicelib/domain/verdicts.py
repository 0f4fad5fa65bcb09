"""What becomes of each item of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chalicelib.domain.batches import Form, item_pointer
from chalicelib.domain.drafts import Draft
from chalicelib.errors import FieldError, InvalidRequestError


class Outcome(StrEnum):
    """The word for it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It was kept before, by its key or its CloudEvent's source and id."""
    REJECTED = "rejected"
    """Refused for its content. With an event id it is kept as a REJECTED event."""
    FAILED = "failed"
    """AWS did not keep it; to be sent again."""


@dataclass(frozen=True)
class Verdict:
    """The answer for one item. Pointers lead from the body of the request."""

    index: int
    outcome: Outcome
    event_id: str | None = None
    errors: Sequence[FieldError] = ()

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "index": self.index,
            "status": str(self.outcome),
            "eventId": self.event_id,
            "errors": [vars(error) for error in self.errors],
        }


@dataclass
class Item:
    """One item of a batch on its way to a verdict. `payload` is what is kept of it."""

    index: int
    form: Form
    payload: bytes
    draft: Draft | None = None
    schema_version: int | None = None
    refusal: InvalidRequestError | None = None
    event_id: str | None = None
    """The id that its identity stands for; None without one."""
    leader: "Item | None" = None
    """The item before it with the same identity and payload: what becomes of that, becomes of
    this one."""
    verdict: Verdict | None = None

    @property
    def is_new(self) -> bool:
        """Whether it is to be kept as an event."""
        return self.verdict is None and self.refusal is None and self.leader is None

    def accept(self, event_id: str, *, before: bool = False) -> None:
        """It is kept; `before` says that it was so already."""
        outcome = Outcome.DUPLICATE if before else Outcome.ACCEPTED
        self.verdict = Verdict(self.index, outcome, event_id)

    def reject(self, errors: Sequence[FieldError], event_id: str | None = None) -> None:
        """It is refused, for `errors` that point into the item."""
        place = item_pointer(self.form, self.index)
        told = [FieldError(place + error.pointer, error.detail) for error in errors]
        self.verdict = Verdict(self.index, Outcome.REJECTED, event_id, told)

    def reject_conflict(self) -> None:
        """Its identity stands for another content."""
        of = "key" if self.form is Form.PLAIN else "source and id"
        self.reject([FieldError("", f"this {of} came before with another content")])

    def fail(self) -> None:
        """AWS did not keep it."""
        place = item_pointer(self.form, self.index)
        detail = "was not kept, since AWS did not answer; send it again"
        self.verdict = Verdict(self.index, Outcome.FAILED, errors=[FieldError(place, detail)])

    def follow(self, leader: Verdict) -> None:
        """The same as its leader; what that was accepted as, this one repeats."""
        if leader.event_id is not None:
            self.accept(leader.event_id, before=True)
        elif leader.outcome is Outcome.REJECTED:
            self.reject_conflict()
        else:
            self.fail()
