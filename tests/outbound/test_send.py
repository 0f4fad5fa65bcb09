"""One attempt, at real servers that misbehave."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.outbound import connect, send
from chalicelib.outbound.send import Answer, Limits, Sender
from tests.support import webhook_receiver as receivers
from tests.support.factories import Clock
from tests.support.webhook_receiver import NAME, Authority, Receiver, addresses, answer

pytestmark = pytest.mark.enable_socket
BODY = b'{"type":"order.paid"}'
LIMITS = Limits(connect=5.0, read=15.0, total=20.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(authority.context(NAME)).listening() as receiver:
        yield receiver


def sender(receiver: Receiver, authority: Authority, **more: Any) -> Sender:
    more = {"loopback": True, "look_up": receiver.look_up, **more}
    return Sender(more.pop("limits", LIMITS), ca=str(authority.file), now=Clock(), **more)


def post(receiver: Receiver, authority: Authority, **more: Any) -> Answer:
    with sender(receiver, authority, **more) as made:
        return made.post(receiver.url, BODY, {"Content-Type": "application/json"})


def test_a_message_arrives_under_the_name_of_its_host(
    receiver: Receiver, authority: Authority
) -> None:
    got = post(receiver, authority)

    assert (got.status, got.code, got.text, got.is_down) == (200, "", "ok", False)
    (request,) = receiver.got
    assert request.path == "/hook"
    assert request.body == BODY
    assert request.headers["host"] == f"{NAME}:{receiver.port}"
    assert request.headers["user-agent"] == "Eventline-Webhooks"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["content-type"] == "application/json"


def test_messages_of_a_run_share_a_connection(receiver: Receiver, authority: Authority) -> None:
    with sender(receiver, authority) as made:
        for _ in range(3):
            assert made.post(receiver.url, BODY, {}).is_success
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("status", "is_down"),
    [(301, False), (302, False), (307, False), (400, False), (404, False), (410, False),
     (429, True), (500, True), (503, True)],
)  # fmt: skip
def test_all_but_a_success_is_a_failure(
    receiver: Receiver, authority: Authority, status: int, is_down: bool
) -> None:
    receiver.then(answer(status, b"why", Location=receiver.url))

    got = post(receiver, authority)

    assert (got.status, got.code, got.text) == (status, f"http-{status}", "why")
    assert got.is_down is is_down
    assert got.is_gone is (status == 410)
    # A redirect is not followed.
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "7", 7),
        (503, " 120 ", 120),
        (503, "Sat, 14 Mar 2026 12:01:00 GMT", 60),
        (503, "Sat, 14 Mar 2026 11:00:00 GMT", 0),
        (429, "soon", None),
        (429, "-1", None),
        (429, "9" * 30, 999_999_999),
        (500, "7", None),
    ],
)
def test_what_a_receiver_asks_for_is_read(
    receiver: Receiver, authority: Authority, status: int, text: str, seconds: int | None
) -> None:
    receiver.then(answer(status, Retry_After=text))
    assert post(receiver, authority).retry_after == seconds


def test_a_status_counts_though_its_answer_is_cut(receiver: Receiver, authority: Authority) -> None:
    receiver.then(receivers.half)
    assert post(receiver, authority).is_success


def test_no_status_is_no_answer(receiver: Receiver, authority: Authority) -> None:
    for behave in (receivers.half_a_status, receivers.reset):
        receiver.then(behave)
        got = post(receiver, authority)
        assert (got.status, got.code, got.is_down) == (None, "no-answer", True)


def test_of_an_endless_answer_the_beginning_is_read(
    receiver: Receiver, authority: Authority
) -> None:
    receiver.then(receivers.endless)
    with sender(receiver, authority) as made:
        got = made.post(receiver.url, BODY, {})
        assert got.is_success
        assert got.text == "x" * send.SHOWN_OF_SUCCESS
        # The rest is not taken for the next answer.
        assert made.post(receiver.url, BODY, {}).text == "ok"
    assert receiver.connections == 2


def test_a_bomb_is_not_unpacked(receiver: Receiver, authority: Authority) -> None:
    receiver.then(receivers.bomb)
    got = post(receiver, authority)
    assert got.is_success
    assert len(got.text) <= send.SHOWN_OF_SUCCESS


def test_an_answer_is_shown_as_harmless_text(receiver: Receiver, authority: Authority) -> None:
    receiver.then(answer(500, b"\x00\x1b[31mno\xff\r\n" + "ü".encode() + b"y" * 2000))
    text = post(receiver, authority).text
    assert text.startswith("??[31mno")
    assert "\x1b" not in text
    assert len(text) <= send.SHOWN_BYTES


def test_who_does_not_answer_in_time_is_left(receiver: Receiver, authority: Authority) -> None:
    receiver.then(answer(seconds=1))
    got = post(receiver, authority, limits=Limits(connect=5.0, read=0.2, total=20.0))
    assert (got.status, got.code, got.is_down) == (None, "time-out", True)
    assert 200 <= got.millis < 900


def test_who_drips_is_cut(receiver: Receiver, authority: Authority) -> None:
    receiver.then(receivers.drip)
    got = post(receiver, authority, limits=Limits(connect=5.0, read=15.0, total=0.4))
    assert got.status is None
    assert got.millis < 2000


def test_who_hangs_in_the_handshake_is_cut(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        receiver = Receiver(authority.context(NAME), port=silent.getsockname()[1])
        begun = time.monotonic()
        got = post(receiver, authority, limits=Limits(connect=5.0, read=15.0, total=0.3))
    assert got.status is None
    assert time.monotonic() - begun < 2


def test_what_is_not_there_is_no_connection(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    got = post(Receiver(authority.context(NAME), port=port), authority)
    assert (got.code, got.is_down) == ("no-connection", True)


def test_a_name_that_nobody_knows(receiver: Receiver, authority: Authority) -> None:
    with sender(receiver, authority) as made:
        assert made.post("https://nobody.example.com/", BODY, {}).code == "name-unknown"
    with sender(receiver, authority, look_up=lambda *_: []) as made:
        assert made.post("https://nobody.example.com/", BODY, {}).code == "name-unknown"


@pytest.mark.parametrize("names", [("other.example.com",), ("*.example.org",), ("127.0.0.1",)])
def test_the_certificate_must_be_of_the_name(authority: Authority, names: tuple[str, ...]) -> None:
    with Receiver(authority.context(*names)).listening() as receiver:
        assert post(receiver, authority).code == "tls"
    assert receiver.got == []


def test_an_expired_certificate_and_an_unknown_authority_are_refused(
    authority: Authority, tmp_path: Path
) -> None:
    with Receiver(authority.context(NAME, days=-1)).listening() as receiver:
        assert post(receiver, authority).code == "tls"
    with Receiver(Authority.make(tmp_path).context(NAME)).listening() as receiver:
        assert post(receiver, authority).code == "tls"


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["fd00:ec2::254"],
    ],
)
def test_a_name_that_points_inside_is_not_called(
    receiver: Receiver, authority: Authority, found: list[str]
) -> None:
    def look_up(_host: str, port: int) -> list[tuple[Any, ...]]:
        return [addresses(one, port) for one in found]

    got = post(receiver, authority, loopback=False, look_up=look_up)

    assert (got.status, got.code) == (None, "address-refused")
    assert receiver.connections == 0


def test_a_name_is_looked_up_once_for_a_connection(
    receiver: Receiver, authority: Authority
) -> None:
    """A second look-up could answer something else (DNS rebinding)."""
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [addresses("127.0.0.1" if len(asked) == 1 else "10.0.0.1", port)]

    assert post(receiver, authority, look_up=look_up).is_success
    assert asked == [NAME]


def test_a_name_of_many_dead_addresses_takes_no_longer_than_some(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    class Dead(socket.socket):
        def connect(self, place: Any) -> None:
            tried.append(place)
            raise TimeoutError

    monkeypatch.setattr("chalicelib.outbound.connect.socket.socket", Dead)
    receiver = Receiver(authority.context(NAME), port=9)
    got = post(receiver, authority, look_up=lambda _, port: [addresses("127.0.0.1", port)] * 50)
    assert got.code == "time-out"
    assert len(tried) == connect.MOST_ADDRESSES


def test_a_redirect_inside_is_not_followed(receiver: Receiver, authority: Authority) -> None:
    with Receiver().listening() as inside:
        receiver.then(answer(307, Location=inside.url))
        assert post(receiver, authority).code == "http-307"
    assert inside.got == []


def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(receiver, authority).is_success


def test_no_cookie_comes_back(receiver: Receiver, authority: Authority) -> None:
    receiver.then(answer(Set_Cookie="a=b"))
    with sender(receiver, authority) as made:
        made.post(receiver.url, BODY, {})
        made.post(receiver.url, BODY, {})
    assert "cookie" not in receiver.got[1].headers


def test_http_to_this_machine_works_in_the_local_stage_alone() -> None:
    local, other = Sender(LIMITS, loopback=True), Sender(LIMITS)
    with Receiver().listening() as receiver, local, other:
        assert local.post(receiver.url, BODY, {}).is_success
        assert other.post(receiver.url, BODY, {}).code == "address-refused"
    assert len(receiver.got) == 1


def test_a_url_that_no_library_reads_is_no_crash(receiver: Receiver, authority: Authority) -> None:
    with sender(receiver, authority) as made:
        for url in ("https://", "https://[::1", "nonsense", "https://a b/"):
            assert not made.post(url, BODY, {}).is_success


def test_threads_share_a_sender(receiver: Receiver, authority: Authority) -> None:
    with sender(receiver, authority) as made:
        ends: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: ends.append(made.post(receiver.url, BODY, {})))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [end.is_success for end in ends] == [True] * 8
