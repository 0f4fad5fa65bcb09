"""The body as a second key, for who forwards deliveries under other ids."""

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from chalicelib import wiring
from chalicelib.core.errors import IdempotencyConflictError
from chalicelib.events.ingest import Receipt
from chalicelib.webhooks.digests import DigestStore
from chalicelib.webhooks.receive import receive
from tests.conftest import STAGE_VARIABLES
from tests.support.app_on_moto import Platform
from tests.support.factories import Clock
from tests.support.faults import ProcessKilledError

SECRET = "for-tests-only"
PUSH = b'{"ref":"refs/heads/main"}'
WINDOW = 600


class Hooks:
    """The receiver of webhooks with bodies as a second key."""

    def __init__(self, platform: Platform) -> None:
        self.clock = Clock()
        self.deps = replace(
            wiring.webhooks(),
            secret_of=lambda _source: SECRET,
            digests=DigestStore(platform.aws("dynamodb"), STAGE_VARIABLES["EVENTS_TABLE"], WINDOW),
            now=self.clock,
        )

    def send(self, delivery: str | None, body: bytes = PUSH, event: str = "push") -> Receipt:
        """A delivery of GitHub, as a form or as JSON."""
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-hub-signature-256": f"sha256={digest}", "x-github-event": event}
        if delivery is not None:
            headers["x-github-delivery"] = delivery
        return receive("github", headers, body, "request", self.deps)


@pytest.fixture
def hooks(platform: Platform) -> Hooks:
    return Hooks(platform)


def test_the_same_body_under_another_id_is_a_repeat(hooks: Hooks) -> None:
    first = hooks.send("d-1")
    again = hooks.send("d-2")
    third = hooks.send(None)

    assert (first.replayed, again.replayed, third.replayed) == (False, True, True)
    assert first.event_id == again.event_id == third.event_id


def test_another_body_is_another_event(hooks: Hooks) -> None:
    assert hooks.send("d-1").event_id != hooks.send("d-2", b'{"ref":"x"}').event_id


def test_after_its_window_a_body_is_new(hooks: Hooks) -> None:
    first = hooks.send("d-1")
    hooks.clock.advance(WINDOW + 1)

    later = hooks.send("d-2")
    assert later.event_id != first.event_id
    # And the first delivery, come again, is its own still
    hooks.clock.advance(WINDOW + 1)
    assert hooks.send("d-1").event_id == first.event_id


def test_a_first_delivery_that_died_is_kept_by_the_second(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a delivery that died once its body was known
    def die(*_: object, **__: object) -> None:
        raise ProcessKilledError

    with monkeypatch.context() as patch:
        patch.setattr("chalicelib.webhooks.receive.ingest", die)
        with pytest.raises(ProcessKilledError):
            hooks.send("d-1")
    # When it comes under another id, it is kept; under its own it is a repeat
    second = hooks.send("d-2")
    assert second.replayed is False
    assert hooks.send("d-1").event_id == second.event_id


def test_of_many_at_once_one_is_kept(hooks: Hooks) -> None:
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(hooks.send, [f"d-{number}" for number in range(16)]))

    assert len({one.event_id for one in receipts}) == 1
    assert [one.replayed for one in receipts].count(False) == 1


def test_the_same_body_of_another_event_is_refused(hooks: Hooks) -> None:
    hooks.send("d-1")
    with pytest.raises(IdempotencyConflictError):
        hooks.send("d-2", event="ping")


def test_without_the_setting_only_the_id_counts(hooks: Hooks) -> None:
    hooks.deps = replace(hooks.deps, digests=None)
    assert hooks.send("d-1").event_id != hooks.send("d-2").event_id
