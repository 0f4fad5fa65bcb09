"""Signatures, as the published library of Standard Webhooks verifies them."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from chalicelib.destinations.sign import SECRET_BYTES, make_secret, signature_headers

BODY = '{"type":"order.paid","data":"ü"}'.encode()
OLD, NEW = make_secret(bytes(SECRET_BYTES)), make_secret(b"\xff" * SECRET_BYTES)


def signed(*secrets: str) -> dict[str, str]:
    return signature_headers(secrets, "msg_1", int(datetime.now(UTC).timestamp()), BODY)


def test_the_library_verifies_a_signature() -> None:
    assert Webhook(OLD).verify(BODY, signed(OLD)) == {"type": "order.paid", "data": "ü"}


def test_receivers_that_were_written_for_svix_verify_it_too() -> None:
    SvixWebhook(OLD).verify(BODY, signed(NEW, OLD))
    with pytest.raises(WebhookVerificationError):
        SvixWebhook(OLD).verify(BODY, signed(NEW))


def test_while_secrets_overlap_a_receiver_may_have_either() -> None:
    headers = signed(NEW, OLD)
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (OLD, NEW):
        Webhook(secret).verify(BODY, headers)


def test_another_secret_or_body_is_no_match() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY, signed(OLD))
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY + b" ", signed(OLD))


def test_the_example_of_the_specification() -> None:
    # Standard Webhooks, the test vectors of its libraries.
    headers = signature_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
