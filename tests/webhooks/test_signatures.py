"""Signatures: real senders are known, and nobody else, whatever they send."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from standardwebhooks import Webhook

from chalicelib.webhooks import signatures
from chalicelib.webhooks.signatures import (
    _NO_KEY,
    MAX_SECRETS,
    MAX_SIGNATURES,
    parse_secrets,
    standard_key,
    verify_github,
    verify_standard,
)
from tests.support.factories import NOON

SAMPLE = json.loads(
    (Path(__file__).parent.parent / "samples" / "github_workflow_run.json").read_text()
)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 byte").decode()
BODY = b'{"type":"contact.created","data":{"name":"Zo\xc3\xab"}}'


def github_headers(secret: str, body: bytes) -> dict[str, str]:
    """What GitHub signs a body with."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}"}


def standard_headers(
    secret: str = SECRET, body: bytes = BODY, *, at: datetime = NOON, message_id: str = "msg_1"
) -> dict[str, str]:
    """What a Standard Webhooks library sends with a body."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


def sign_by_hand(key: bytes, message_id: str, timestamp: str, body: bytes) -> dict[str, str]:
    """Headers that are signed right, whatever they hold."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


# ------------------------------------------------------------------------ GitHub


def test_the_documented_example_of_github_is_right() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": signature}
    assert verify_github(["It's a Secret to Everybody"], headers, b"Hello, World!")
    assert not verify_github(["It's a Secret to Everybody"], headers, b"Hello, World?")
    assert not verify_github(["It's a secret to everybody"], headers, b"Hello, World!")


def test_a_delivery_as_github_sends_it_is_right() -> None:
    headers = {name.lower(): value for name, value in SAMPLE["headers"].items()}
    assert verify_github([SAMPLE["secret"]], headers, SAMPLE["body"].encode())
    # And not without the last byte, or when it was parsed and written again.
    assert not verify_github([SAMPLE["secret"]], headers, SAMPLE["body"].encode()[:-1])
    again = json.dumps(json.loads(SAMPLE["body"])).encode()
    assert not verify_github([SAMPLE["secret"]], headers, again)


@pytest.mark.parametrize("position", [0, 1, 9])
def test_any_of_the_secrets_will_do(position: int) -> None:
    secrets = [f"secret {number}" for number in range(10)]
    assert verify_github(secrets, github_headers(secrets[position], BODY), BODY)


def test_beyond_the_limit_the_newest_secrets_count() -> None:
    secrets = [f"secret {number}" for number in range(MAX_SECRETS + 1)]
    assert verify_github(secrets, github_headers(secrets[-1], BODY), BODY)
    assert not verify_github(secrets, github_headers(secrets[0], BODY), BODY)


def right_digest() -> str:
    return github_headers("s", BODY)["x-hub-signature-256"].removeprefix("sha256=")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256",
        "sha256=" + "0" * 64,
        right_digest(),
        "sha1=" + right_digest(),
        "sha256=" + right_digest().upper(),
        "SHA256=" + right_digest(),
        "sha256=" + right_digest()[:-1],
        "sha256=" + right_digest() + "0",
        f"sha256={right_digest()},sha256={right_digest()}",
        "sha256=" + base64.b64encode(bytes.fromhex(right_digest())).decode(),
        "sha256=" + right_digest().translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
        "sha256=\udcff",
        "sha256=" + "é" * 64,
        "sha256=" + right_digest() + "é",
        "x" * 10_000,
    ],
)
def test_a_github_signature_is_right_to_the_letter_or_not_at_all(signature: str) -> None:
    assert not verify_github(["s"], {"x-hub-signature-256": signature}, BODY)


def test_the_old_signature_of_github_does_not_count() -> None:
    digest = hmac.new(b"s", BODY, hashlib.sha1).hexdigest()
    assert not verify_github(["s"], {"x-hub-signature": f"sha1={digest}"}, BODY)
    assert not verify_github(["s"], {"x-hub-signature-256": f"sha1={digest}"}, BODY)
    assert not verify_github(["s"], {}, BODY)


@pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
@pytest.mark.parametrize("guess", ["", "no secret is set", "None"])
def test_without_a_secret_nothing_is_right(secrets: list[str], guess: str) -> None:
    assert not verify_github(secrets, github_headers(guess, BODY), BODY)
    # Nor what is signed with the key that the work is done with.
    stand_in = {
        "x-hub-signature-256": "sha256=" + hmac.new(_NO_KEY, BODY, hashlib.sha256).hexdigest()
    }
    assert not verify_github(secrets, stand_in, BODY)


# ------------------------------------------------------------- Standard Webhooks


def test_what_the_library_signs_is_right() -> None:
    assert verify_standard([SECRET], standard_headers(), BODY, NOON)
    assert not verify_standard([OTHER], standard_headers(), BODY, NOON)
    assert not verify_standard([SECRET], standard_headers(), BODY + b" ", NOON)


def test_the_known_vector_of_the_libraries_is_right() -> None:
    # Given the vector that the Standard Webhooks libraries test with
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body = b'{"test": 2432232314}'
    sent = datetime.fromtimestamp(1614265330, UTC)
    assert verify_standard([SECRET], headers, body, sent)
    assert not verify_standard([SECRET], headers, body, NOON)


@given(some.text(some.characters(exclude_categories=["Cs"])), some.binary(min_size=1, max_size=64))
def test_whatever_the_library_signs_is_right(text: str, key: bytes) -> None:
    body, secret = text.encode(), "whsec_" + base64.b64encode(key).decode()
    assert verify_standard([OTHER, secret], standard_headers(secret, body), body, NOON)


@pytest.mark.parametrize(
    ("seconds", "right"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_five_minutes_either_way_are_tolerated(seconds: int, right: bool) -> None:
    headers = standard_headers(at=NOON + timedelta(seconds=seconds))
    assert verify_standard([SECRET], headers, BODY, NOON) is right
    # Not a moment more.
    if right and seconds:
        away = NOON - timedelta(milliseconds=1 if seconds > 0 else -1)
        assert not verify_standard([SECRET], headers, BODY, away)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed_and_signed(name: str) -> None:
    headers = standard_headers()
    for value in ("", " ", "1773489601", headers[name] + "0", f".{headers[name]}", "é", "\udcff"):
        assert not verify_standard([SECRET], {**headers, name: value}, BODY, NOON), value
    del headers[name]
    assert not verify_standard([SECRET], headers, BODY, NOON)


@pytest.mark.parametrize(
    "timestamp",
    [
        "{:.1f}",
        "{:.0f}.",
        "+{:.0f}",
        "-{:.0f}",
        "{:.0f}\n",
        "{:.0f}e0",
        "{:_.0f}",
        "0x{:.0f}",
        "0000000000{:.0f}",
        "9" * 5000,
        "NaN",
        "inf",
        "",
    ],
)
def test_a_time_is_whole_seconds_even_if_it_is_signed(timestamp: str) -> None:
    given = timestamp.format(NOON.timestamp())
    headers = sign_by_hand(standard_key(SECRET) or b"", "msg_1", given, BODY)
    assert not verify_standard([SECRET], headers, BODY, NOON)


def test_digits_of_other_scripts_are_no_time() -> None:
    wide = str(int(NOON.timestamp())).translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    headers = sign_by_hand(standard_key(SECRET) or b"", "msg_1", wide, BODY)
    assert not verify_standard([SECRET], headers, BODY, NOON)


@pytest.mark.parametrize("message_id", ["", "a.b", ".", "a b", "a\n", "a\x00", "é", "x" * 256])
def test_an_id_has_no_full_stop_and_no_odd_character_even_if_it_is_signed(message_id: str) -> None:
    timestamp = str(int(NOON.timestamp()))
    headers = sign_by_hand(standard_key(SECRET) or b"", message_id, timestamp, BODY)
    assert not verify_standard([SECRET], headers, BODY, NOON)


def test_an_id_of_the_longest_length_is_right() -> None:
    headers = standard_headers(message_id="x" * 255)
    assert verify_standard([SECRET], headers, BODY, NOON)


def test_the_parts_of_what_is_signed_can_not_be_moved() -> None:
    # Given a number as body, which starts with a time of now
    timestamp = str(int(NOON.timestamp()))
    key = standard_key(SECRET) or b""
    headers = sign_by_hand(key, "msg_1", timestamp, f"{timestamp}.5".encode())
    # When the old time is sent as the end of the id, and the body's start as the time
    moved = {**headers, "webhook-id": f"msg_1.{timestamp}"}
    # Then it is refused, though what was signed is the same
    assert not verify_standard([SECRET], moved, b"5", NOON)


def signature_of(secret: str) -> str:
    return standard_headers(secret)["webhook-signature"]


@pytest.mark.parametrize(
    ("signature", "right"),
    [
        (f"{signature_of(OTHER)} {signature_of(SECRET)}", True),
        (f"{signature_of(SECRET)} {signature_of(OTHER)}", True),
        (f"v1a,abcd {signature_of(SECRET)}", True),
        (f"v1 {signature_of(SECRET)}  v2,x", True),
        (f"garbage é , ,, {signature_of(SECRET)}", True),
        (" ".join([signature_of(OTHER)] * (MAX_SIGNATURES - 1) + [signature_of(SECRET)]), True),
        (" ".join([signature_of(OTHER)] * MAX_SIGNATURES + [signature_of(SECRET)]), False),
        (signature_of(SECRET).removeprefix("v1,"), False),
        (signature_of(SECRET).replace("v1,", "v1a,"), False),
        (signature_of(SECRET).replace("v1,", "v1="), False),
        (signature_of(SECRET).replace("v1,", "V1,"), False),
        (signature_of(SECRET).replace(" ", "").replace("v1,", "v1,v1,"), False),
        (f"{signature_of(SECRET)},{signature_of(SECRET)}", False),
        ("v1,", False),
        ("v1,é", False),
        (signature_of(SECRET) + "é", False),
        ("v1,====", False),
    ],
)
def test_any_signature_of_version_1_will_do(signature: str, right: bool) -> None:
    headers = {**standard_headers(), "webhook-signature": signature}
    assert verify_standard([SECRET], headers, BODY, NOON) is right


@pytest.mark.parametrize(
    "secrets", [[OTHER, SECRET], [SECRET, OTHER], ["not base64!", SECRET], ["", SECRET]]
)
def test_while_a_secret_is_replaced_both_are_right(secrets: list[str]) -> None:
    assert verify_standard(secrets, standard_headers(), BODY, NOON)


def test_a_secret_may_lack_its_prefix_and_its_padding() -> None:
    padded = base64.b64encode(b"twenty-five bytes of key!").decode()
    assert padded.endswith("==")
    headers = standard_headers(padded)
    for secret in (padded, padded.rstrip("="), f"whsec_{padded}", f"whsec_{padded.rstrip('=')}"):
        assert verify_standard([secret], headers, BODY, NOON), secret


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_====", "not base64!", "a", "a b", "YWJj!!!!"]
)
def test_a_secret_that_is_not_base64_is_no_key(secret: str) -> None:
    assert standard_key(secret) is None


@pytest.mark.parametrize(
    "secrets", [[], [""], ["whsec_"], ["===="], ["whsec_===="], ["a"], ["é"], ["a b"], ["\udcff"]]
)
def test_without_a_usable_secret_no_standard_webhook_is_right(secrets: list[str]) -> None:
    timestamp = str(int(NOON.timestamp()))
    for key in (b"", _NO_KEY, b"a", "é".encode()):
        headers = sign_by_hand(key, "msg_1", timestamp, BODY)
        assert not verify_standard(secrets, headers, BODY, NOON)


# ------------------------------------------------------------------ the work done


class CountingHmac:
    """`hmac` as it is, but that it notes what it was asked."""

    def __init__(self) -> None:
        self.hashed: list[int] = []
        self.compared = 0

    def digest(self, key: bytes, message: bytes, name: str) -> bytes:
        self.hashed.append(len(message))
        return hmac.digest(key, message, name)

    def compare_digest(self, one: bytes, other: bytes) -> bool:
        self.compared += 1
        return hmac.compare_digest(one, other)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> CountingHmac:
    counting = CountingHmac()
    monkeypatch.setattr(signatures, "hmac", counting)
    return counting


@pytest.mark.parametrize("by", ["s1", "s2", "s3", "nobody"])
def test_every_secret_is_tried_whichever_is_right(work: CountingHmac, by: str) -> None:
    verify_github(["s1", "s2", "s3"], github_headers(by, BODY), BODY)
    assert (work.hashed, work.compared) == ([len(BODY)] * 3, 3)


@pytest.mark.parametrize("order", [(SECRET, OTHER), (OTHER, SECRET), (OTHER, OTHER)])
def test_every_pair_of_secret_and_signature_is_compared(
    work: CountingHmac, order: Sequence[str]
) -> None:
    given = " ".join(signature_of(secret) for secret in order)
    headers = {**standard_headers(), "webhook-signature": given}
    verify_standard([SECRET, OTHER, SECRET], headers, BODY, NOON)
    assert (len(work.hashed), work.compared) == (3, 6)


def test_the_work_is_done_where_there_is_nothing_to_compare_with(work: CountingHmac) -> None:
    verify_github([], {}, BODY)
    assert (work.hashed, work.compared) == ([len(BODY)], 1)
    verify_standard([], {}, BODY, NOON)
    assert (len(work.hashed), work.compared) == (2, 2)
    # And where the time has long gone by.
    verify_standard([SECRET], standard_headers(at=NOON - timedelta(days=1)), BODY, NOON)
    assert (len(work.hashed), work.compared) == (3, 3)


# ------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("", []),
        (" \n", []),
        ("one", ["one"]),
        ("one\n", ["one"]),
        ("old new", ["old", "new"]),
        ("old,new", ["old", "new"]),
        ("old\r\nnew\r\n", ["old", "new"]),
        (" ,old,, \n,new,", ["old", "new"]),
        ('["It\'s a Secret to Everybody", "new, too"]', ["It's a Secret to Everybody", "new, too"]),
        ('["old", "", " ", null, 7, "new"]', ["old", "new"]),
        ("[]", []),
        ('["old", "new"', ['["old"', '"new"']),
        ('{"a":1}', ['{"a":1}']),
        ("12345", ["12345"]),
        ("null", ["null"]),
        (f"{SECRET} {OTHER}", [SECRET, OTHER]),
    ],
)
def test_secrets_are_a_json_array_or_separated(text: str, secrets: list[str]) -> None:
    assert parse_secrets(text) == secrets


def test_of_too_many_secrets_the_newest_are_kept() -> None:
    names = [f"s{number}" for number in range(12)]
    assert parse_secrets(",".join(names)) == names[2:]
    assert parse_secrets(json.dumps(names)) == names[2:]
