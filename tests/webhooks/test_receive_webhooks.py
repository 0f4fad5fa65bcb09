"""Receiving webhooks: kept once when signed; else nothing happens, and nothing is learned."""

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from standardwebhooks import Webhook

from chalicelib.core.errors import (
    EventlineError,
    IdempotencyConflictError,
    InvalidJsonError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnauthenticatedError,
    UnsupportedMediaTypeError,
)
from chalicelib.core.ids import keyed_event_id
from chalicelib.events.ingest import IngestDeps, Receipt
from chalicelib.events.model import Record, Status
from chalicelib.webhooks import signatures
from chalicelib.webhooks.receive import WebhookDeps, receive
from tests.support.factories import Clock, no_schema, unique
from tests.support.fake_lake import FakeLake
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws, FakeEventStore
from tests.support.faults import Fault, ProcessKilledError

SAMPLE = json.loads(
    (Path(__file__).parent.parent / "samples" / "github_workflow_run.json").read_text()
)
LIMIT = 20_000
SECRETS = {
    "github": "old-secret, github-secret",
    "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
PUSH = b'{"ref":"refs/heads/main","repository":{"full_name":"octo-org/web"}}'
LARGE = b'{"ref":"refs/heads/main","text":"%s"}' % (b"x" * 5000)
PAID = b'{"type":"invoice.paid","data":{"id":"in_1"}}'


class Platform:
    """Receiving on fakes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.aws = FakeAws(self.clock)
        self.queue = FakeQueue(self.aws)
        self.secrets: dict[str, str] = dict(SECRETS)
        self.asked: list[str] = []
        ingest = IngestDeps(
            FakeEventStore(self.aws),
            FakeLake(self.aws),
            self.queue,
            no_schema,
            LIMIT,
            now=self.clock,
        )
        self.deps = WebhookDeps(ingest, self.secret_of, "webhooks", now=self.clock)

    def secret_of(self, source: str) -> str | None:
        self.asked.append(source)
        return self.secrets.get(source)

    def receive(self, source: str, headers: Mapping[str, str], body: bytes) -> Receipt:
        return receive(source, headers, body, unique("request"), self.deps)

    def github(self, body: bytes = PUSH, event: str = "push", **more: str) -> Receipt:
        """A delivery of GitHub; `more` are headers."""
        return self.receive("github", github(body, event, **more), body)

    def standard(self, body: bytes = PAID, message_id: str = "msg_1") -> Receipt:
        """A Standard Webhook sent now."""
        return self.receive("standard", standard(body, message_id, self.clock()), body)

    def record(self, receipt: Receipt) -> Record:
        return self.aws.records[receipt.event_id]

    def check_untouched(self) -> None:
        """Nothing was written or read anywhere."""
        assert self.aws.calls == []
        assert not self.aws.objects
        assert not self.aws.records


def github(
    body: bytes, event: str = "push", *, secret: str = "github-secret", **more: str
) -> dict[str, str]:
    """The headers of a delivery of GitHub."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": "d-1",
        "x-hub-signature-256": "sha256="
        + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        **named,
    }


def standard(
    body: bytes, message_id: str, at: datetime, secret: str = SECRETS["standard"]
) -> dict[str, str]:
    """The headers of a Standard Webhook."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


@pytest.fixture
def platform() -> Platform:
    return Platform()


# ------------------------------------------------------------------- what is kept


def test_a_delivery_as_github_sends_it_is_kept(platform: Platform) -> None:
    # Given GitHub's secret
    platform.secrets["github"] = json.dumps([SAMPLE["secret"]])
    headers = {name.lower(): value for name, value in SAMPLE["headers"].items()}
    # When its delivery comes
    body = SAMPLE["body"].encode()
    receipt = platform.receive("github", headers, body)
    # Then it is in bronze as it was sent, on the queue and in the ledger
    record = platform.record(receipt)
    assert not receipt.replayed
    assert record.status is Status.RECEIVED
    assert record.event.event_type == "github.workflow_run.completed"
    assert record.event.source == "https://github.com/octo-org/web"
    assert record.event.subject == "octo-org/web"
    assert record.event.owner == "webhooks"
    assert record.event.content_type == "application/json"
    assert platform.aws.objects["bronze", record.event.s3_key].body == body
    assert platform.aws.calls == ["PutObject", "PutItem", "SendMessage"]
    assert len(platform.queue.sent) == 1
    assert platform.asked == ["github"]


def test_what_the_standard_library_sends_is_kept(platform: Platform) -> None:
    receipt = platform.standard()
    event = platform.record(receipt).event
    assert event.event_type == "standard.invoice.paid"
    assert (event.source, event.subject, event.owner) == ("/webhooks/standard", None, "webhooks")
    assert event.event_id == keyed_event_id("webhooks", "standard\0msg_1", "webhooks")
    assert platform.asked == ["standard"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        " application/json ",
        None,
    ],
)
def test_json_is_taken_however_it_is_named(platform: Platform, content_type: str | None) -> None:
    headers = github(PUSH)
    del headers["content-type"]
    if content_type is not None:
        headers["content-type"] = content_type
    receipt = platform.receive("github", headers, PUSH)
    assert platform.record(receipt).event.content_type == "application/json"


def test_the_body_is_not_read_as_text_before_it_is_checked(platform: Platform) -> None:
    # Given spaces, escapes and an order that a parser would not keep
    body = b' {"b" : "\\u00e9",\r\n "a":1.0 }\n'
    receipt = platform.github(body)
    assert platform.record(receipt).payload == body


# ------------------------------------------------------------------------ repeats


def test_a_redelivery_is_answered_as_the_first(platform: Platform) -> None:
    first = platform.github()
    platform.clock.advance(3600)
    again = platform.github()
    assert again == Receipt(first.event_id, replayed=True)
    assert platform.record(again).payload == PUSH
    assert len(platform.aws.records) == 1
    assert platform.aws.objects == {}


def test_a_retry_with_a_new_time_is_the_same_event(platform: Platform) -> None:
    first = platform.standard()
    # The specification: a retry has the id of the first, and a time and a signature of its own.
    platform.clock.advance(86_400)
    assert platform.standard() == Receipt(first.event_id, replayed=True)
    assert len(platform.aws.records) == 1


def test_many_at_once_are_one_event(platform: Platform) -> None:
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: platform.standard(), range(32)))
    assert len({receipt.event_id for receipt in receipts}) == 1
    (record,) = platform.aws.records.values()
    assert record.payload == PAID
    assert platform.aws.objects == {}


def test_many_large_ones_at_once_are_one_event(platform: Platform) -> None:
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda _: platform.github(LARGE), range(32)))
    assert len({receipt.event_id for receipt in receipts}) == 1
    assert len(platform.aws.records) == len(platform.aws.objects) == 1
    assert sum(not receipt.replayed for receipt in receipts) == 1


def test_another_body_or_event_under_the_same_id_is_refused(platform: Platform) -> None:
    platform.github()
    platform.standard()
    with pytest.raises(IdempotencyConflictError):
        platform.github(b'{"ref":"refs/heads/other"}')
    with pytest.raises(IdempotencyConflictError):
        # GitHub does not sign the name of the event.
        platform.github(event="create")
    with pytest.raises(IdempotencyConflictError):
        platform.standard(b'{"type":"invoice.paid","data":{"id":"in_2"}}')
    assert len(platform.aws.records) == 2


def test_deliveries_with_ids_of_their_own_are_events_of_their_own(platform: Platform) -> None:
    receipts = [
        platform.github(),
        platform.github(x_github_delivery="d-2"),
        platform.standard(),
        platform.standard(message_id="msg_2"),
        platform.standard(message_id="d-1"),
    ]
    assert len({receipt.event_id for receipt in receipts}) == 5
    assert not any(receipt.replayed for receipt in receipts)


def test_without_a_delivery_id_the_same_body_is_the_same_event(platform: Platform) -> None:
    headers = github(PUSH)
    del headers["x-github-delivery"]
    first = platform.receive("github", headers, PUSH)
    assert platform.receive("github", headers, PUSH) == Receipt(first.event_id, replayed=True)


# ------------------------------------------------------------------- what is not


def wrong_requests() -> dict[str, tuple[str, dict[str, str], bytes]]:
    """Requests that nobody signed who should have: name to source, headers, body."""
    at = Clock()()
    late, early = at - timedelta(seconds=301), at + timedelta(seconds=301)
    other = "whsec_" + "A" * 32
    return {
        "unknown source": ("gitlab", github(PUSH), PUSH),
        "empty source": ("", github(PUSH), PUSH),
        "source in capitals": ("GitHub", github(PUSH), PUSH),
        "path for a source": ("github/../standard", github(PUSH), PUSH),
        "wrong secret": ("github", github(PUSH, secret="wrong"), PUSH),
        "all secrets as one": ("github", github(PUSH, secret=SECRETS["github"]), PUSH),
        "empty secret": ("github", github(PUSH, secret=""), PUSH),
        "other body": ("github", github(PUSH), PUSH + b" "),
        "no headers": ("github", {}, PUSH),
        "no headers, standard": ("standard", {}, PAID),
        "other scheme": ("github", standard(PAID, "msg_1", at), PAID),
        "other scheme, standard": ("standard", github(PAID), PAID),
        "wrong secret, standard": ("standard", standard(PAID, "msg_1", at, other), PAID),
        "stale": ("standard", standard(PAID, "msg_1", late), PAID),
        "early": ("standard", standard(PAID, "msg_1", early), PAID),
        "full stop in the id": ("standard", standard(PAID, "a.b", at), PAID),
        "form, unsigned": ("github", {"content-type": "text/plain"}, b"payload=%7B%7D"),
        "no JSON, unsigned": ("github", github(PUSH), b"{"),
        "empty, unsigned": ("github", {}, b""),
    }


@pytest.mark.parametrize("name", wrong_requests())
def test_who_did_not_sign_is_refused_and_learns_nothing(
    platform: Platform, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.DEBUG, "eventline")
    # When a request comes that is not signed right
    source, headers, body = wrong_requests()[name]
    with pytest.raises(UnauthenticatedError) as caught:
        platform.receive(source, headers, body)
    # Then the answer is the one of all, and nothing is written
    assert answer(caught.value) == (
        401,
        "unauthorized",
        "the webhook is not signed by a sender known here",
        (),
    )
    platform.check_untouched()
    # And one line is logged, without what was sent or the secret
    (line,) = caplog.records
    assert line.getMessage() == "webhook refused"
    said = json.dumps(vars(line), default=str)
    assert not any(secret in said for secret in ("github-secret", "MfKQ9r8GKYqrTwj", "refs/heads"))
    assert vars(line)["source"] == (source if source in SECRETS else None)


def answer(error: EventlineError) -> tuple[Any, ...]:
    """All that a sender sees of an error."""
    return error.status, error.code, error.detail, error.errors


@pytest.mark.parametrize("source", ["github", "standard"])
@pytest.mark.parametrize("text", [None, "", " , \n", "[]", '[""]'])
def test_without_a_secret_everybody_is_refused_alike(
    platform: Platform, caplog: pytest.LogCaptureFixture, source: str, text: str | None
) -> None:
    caplog.set_level(logging.DEBUG, "eventline")
    platform.secrets = {} if text is None else {source: text}
    headers = {**github(PAID, secret=""), **standard(PAID, "msg_1", platform.clock())}
    with pytest.raises(UnauthenticatedError) as caught:
        platform.receive(source, headers, PAID)
    with pytest.raises(UnauthenticatedError) as unknown:
        platform.receive("nobody", headers, PAID)
    assert answer(caught.value) == answer(unknown.value)
    platform.check_untouched()
    assert [vars(line)["reason"] for line in caplog.records] == [
        "no secret is set",
        "unknown source",
    ]


@pytest.mark.parametrize("source", ["gitlab", "", "GITHUB", "github ", "../slack", "\u017ftandard"])
def test_an_unknown_source_reads_no_secret_but_takes_its_time(
    platform: Platform, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given somebody who counts the bytes that are hashed
    hashed: list[int] = []

    class Counting:
        compare_digest = staticmethod(hmac.compare_digest)

        @staticmethod
        def digest(key: bytes, message: bytes, name: str) -> bytes:
            hashed.append(len(message))
            return hmac.digest(key, message, name)

    monkeypatch.setattr(signatures, "hmac", Counting)
    # When a request comes for a source that is none
    with pytest.raises(UnauthenticatedError):
        platform.receive(source, github(PUSH), PUSH)
    # Then SSM is not asked, and the body is hashed all the same
    assert platform.asked == []
    assert hashed == [len(PUSH)]


@pytest.mark.parametrize("source", ["github", "standard", "unknown"])
def test_what_is_too_large_is_refused_before_it_is_hashed(platform: Platform, source: str) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        platform.receive(source, {}, b"x" * (LIMIT + 1))
    assert caught.value.errors == ()
    assert platform.asked == []
    platform.check_untouched()


def test_the_largest_body_is_kept(platform: Platform) -> None:
    body = json.dumps({"a": ""}).encode()
    body = json.dumps({"a": "x" * (LIMIT - len(body))}).encode()
    assert len(body) == LIMIT
    assert platform.record(platform.github(body)).event.payload_bytes == LIMIT


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded; charset=latin-1",
        "text/plain",
        "application/json; charset=latin-1",
        "application/jsonx",
        "application/json, text/plain",
        "",
    ],
)
def test_another_format_is_refused_with_what_to_do(platform: Platform, content_type: str) -> None:
    body = b"payload=%7B%22zen%22%3A%22Keep+it+logically+awesome.%22%7D"
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        platform.github(body, "ping", content_type=content_type)
    assert "application/json" in caught.value.detail
    platform.check_untouched()


def test_a_form_of_github_is_signed_whole_and_kept_as_its_json(platform: Platform) -> None:
    body = b"a=1&payload=%7B%22zen%22%3A%22Keep+it%2Blogical.%22%7D"
    form = "application/x-www-form-urlencoded"
    record = platform.record(platform.github(body, "ping", content_type=form))
    assert record.event.event_type == "github.ping"
    assert record.event.content_type == "application/json"
    assert record.payload == b'{"zen":"Keep it+logical."}'


@pytest.mark.parametrize("body", [b"", b"other=%7B%7D", b"payload=", b"payload=%7B", b"payload=x"])
def test_a_form_without_json_is_kept_as_rejected(platform: Platform, body: bytes) -> None:
    with pytest.raises(InvalidJsonError):
        platform.github(body, "ping", content_type="application/x-www-form-urlencoded")
    (record,) = platform.aws.records.values()
    assert record.status is Status.REJECTED


def test_a_delivery_over_two_hooks_is_kept_twice(platform: Platform) -> None:
    # Given one delivery by a repository's hook and by an app's, under one id
    by_app = b'{"ref":"refs/heads/main","installation":{"id":7}}'
    other_app = b'{"ref":"refs/heads/main","installation":{"id":8}}'
    receipts = [platform.github(body) for body in (PUSH, by_app, other_app)]
    assert len({receipt.event_id for receipt in receipts}) == 3
    # Then each redelivery is known again
    again = [platform.github(body) for body in (PUSH, by_app, other_app)]
    assert again == [Receipt(receipt.event_id, replayed=True) for receipt in receipts]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "text/html"]
)
def test_another_format_of_a_standard_webhook_is_refused(
    platform: Platform, content_type: str
) -> None:
    headers = standard(PAID, "msg_1", platform.clock()) | {"content-type": content_type}
    with pytest.raises(UnsupportedMediaTypeError):
        platform.receive("standard", headers, PAID)


# ----------------------------------------------------------------- what is rejected


@pytest.mark.parametrize(
    ("body", "event", "error", "pointers"),
    [
        (b"", "push", InvalidJsonError, [""]),
        (b"{", "push", InvalidJsonError, [""]),
        (b'{"a":NaN}', "push", InvalidJsonError, [""]),
        (b"[]", "push", InvalidRequestError, [""]),
        (b'{"action":"A"}', "Push", InvalidRequestError, ["/header/X-GitHub-Event"]),
    ],
)
def test_what_is_signed_but_can_not_be_used_is_kept_as_rejected(
    platform: Platform,
    body: bytes,
    event: str,
    error: type[InvalidRequestError],
    pointers: list[str],
) -> None:
    # When a signed delivery is at fault
    with pytest.raises(error) as caught:
        platform.github(body, event)
    # Then the sender is told where, and the delivery is kept with the reason
    assert [fault.pointer for fault in caught.value.errors] == pointers
    (record,) = platform.aws.records.values()
    assert record.status is Status.REJECTED
    assert record.event.owner == "webhooks"
    assert platform.aws.objects["bronze", record.event.s3_key].body == body
    assert platform.queue.sent == []
    # And a sender that goes on trying fills nothing
    with pytest.raises(error):
        platform.github(body, event)
    assert len(platform.aws.records) == 1


def test_a_delivery_that_was_rejected_may_come_again_in_order(platform: Platform) -> None:
    # Given a delivery that was rejected for a header which is not signed
    with pytest.raises(InvalidRequestError):
        platform.github(event="Push")
    # When it is delivered again as it should be
    receipt = platform.github()
    # Then it is an event
    assert not receipt.replayed
    assert platform.record(receipt).event.event_type == "github.push"


# ------------------------------------------------------------------- AWS and SSM


def test_while_ssm_can_not_be_reached_nothing_is_acknowledged(platform: Platform) -> None:
    # Given SSM out of reach, and no secret from before
    fault = ClientError({"Error": {"Code": "ThrottlingException"}}, "GetParameter")

    def throttled(source: str) -> str | None:
        raise fault

    deps = WebhookDeps(platform.deps.ingest, throttled, "webhooks", now=platform.clock)
    # When a delivery comes, its error passes, and becomes a 503
    with pytest.raises(ClientError) as caught:
        receive("github", github(PUSH), PUSH, "r", deps)
    assert caught.value is fault
    platform.check_untouched()
    # An unknown source does not even notice
    with pytest.raises(UnauthenticatedError):
        receive("gitlab", github(PUSH), PUSH, "r", deps)


@pytest.mark.parametrize(
    ("body", "call"), [(PUSH, 1), (PUSH, 2), (LARGE, 1), (LARGE, 2), (LARGE, 3)]
)
@pytest.mark.parametrize("fault", list(Fault))
def test_a_redelivery_mends_what_a_fault_of_aws_left(
    platform: Platform, body: bytes, call: int, fault: Fault
) -> None:
    # Given a delivery during which an AWS call goes wrong
    platform.aws.fail(call, fault)
    try:
        first: str | None = platform.github(body).event_id
    except (ClientError, BotoCoreError, ProcessKilledError):
        first = None
    assert len(platform.aws.calls) >= call
    # When the sender sends it again
    again = platform.github(body)
    # Then it is one event, with the id that was acknowledged if one was
    assert first in (None, again.event_id)
    assert list(platform.aws.records) == [again.event_id]
    assert platform.queue.sent


# ----------------------------------------------------------------------- rotation


def test_a_secret_is_replaced_without_a_delivery_lost(platform: Platform) -> None:
    def kept(secret: str, number: int) -> bool:
        headers = github(PUSH, secret=secret, x_github_delivery=f"{secret}-{number}")
        return platform.receive("github", headers, PUSH).event_id in platform.aws.records

    # Given one secret
    platform.secrets["github"] = "old"
    assert kept("old", 1)
    # When the new one is added, both are right
    platform.secrets["github"] = "old\nnew"
    assert kept("old", 2)
    assert kept("new", 3)
    # And when the old one is dropped, only the new
    platform.secrets["github"] = "new"
    assert kept("new", 4)
    with pytest.raises(UnauthenticatedError):
        kept("old", 5)


def test_a_source_is_opened_by_its_own_secret_only(platform: Platform) -> None:
    platform.secrets = {"github": SECRETS["standard"], "standard": "whsec_" + "A" * 32}
    with pytest.raises(UnauthenticatedError):
        platform.standard()
