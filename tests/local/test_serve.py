"""`chalice local` as a client sees it on the wire: a real server on a free loopback port."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from chalice import Chalice
from chalice.config import Config

from local.serve import Server, ThreadSafeChalice, make_server

pytestmark = pytest.mark.enable_socket


def make_app() -> Chalice:
    class App(ThreadSafeChalice, Chalice):
        """An app that answers with what it was sent."""

    app = App("test")

    @app.route("/size", methods=["POST"], content_types=[])
    def size() -> dict[str, int]:
        return {"bytes": len(app.current_request.raw_body)}

    @app.route("/echo/{word}")
    def echo(word: str) -> list[str]:
        return [word, app.current_request.context["requestId"], app.lambda_context.aws_request_id]

    return app


@pytest.fixture(name="server", scope="module")
def start_server() -> Iterator[Server]:
    server = make_server(make_app(), Config.create(app_name="test", chalice_stage="local"), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server: Server) -> tuple[str, int]:
    return "127.0.0.1", server.server_port


def send_raw(server: Server, data: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    with socket.create_connection(address(server), timeout=10) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        with answer:
            return answer.status, answer.headers, answer.read()


def test_chunked_body_arrives_whole(server: Server) -> None:
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"5\r\nhello\r\n0\r\n\r\n"
    status, _, body = send_raw(server, data)
    assert (status, json.loads(body)) == (200, {"bytes": 5})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /size HTTP/1.1\r\nContent-Length: abc", 400),
        (b"POST /size HTTP/1.1\r\nContent-Length: -5", 400),
        (b"POST /size HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400),
        (b"POST /size HTTP/1.1\r\nContent-Length: 99999999", 413),
        (b"POST /size HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999", 413),
        (b"GET / HTTP/9.9", 505),
        (b"NONSENSE", 400),
        (b"TRACE /size HTTP/1.1", 404),
        (b"BREW /size HTTP/1.1", 404),
    ],
)
def test_refusal_is_a_problem_document(server: Server, head: bytes, status: int) -> None:
    found, headers, body = send_raw(server, head + b"\r\n\r\n")
    assert found == status
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["status"] == status
    assert json.loads(body)["requestId"] == headers["X-Request-Id"]


def test_answer_to_a_huge_body_reaches_a_client_that_is_still_sending(server: Server) -> None:
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    connection.request("POST", "/size", body=b"x" * (11 * 1024 * 1024))
    answer = connection.getresponse()
    assert answer.status == 413
    answer.read()
    connection.close()


def test_head_has_the_headers_and_no_body(server: Server) -> None:
    connection = http.client.HTTPConnection(*address(server), timeout=10)
    connection.request("HEAD", "/nope")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"")
    connection.request("GET", "/echo/still-open")
    assert connection.getresponse().status == 200
    connection.close()


def test_client_that_leaves_half_way_is_no_error(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with socket.create_connection(address(server), timeout=10) as connection:
            connection.sendall(b"POST /size HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
    assert send_raw(server, b"GET /echo/a HTTP/1.1\r\n\r\n")[0] == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_access_line_has_no_query_and_can_not_be_forged(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    send_raw(server, b"GET /echo/a\x1b[31m?secret=1 HTTP/1.1\r\n\r\n")
    line = capsys.readouterr().out
    assert line.startswith("GET /echo/a\\x1b[31m 200 ")
    assert "secret" not in line


def test_concurrent_requests_keep_their_own_context(server: Server) -> None:
    def ask(number: int) -> tuple[int, list[str]]:
        status, headers, body = send_raw(
            server, f"GET /echo/{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        return status, [*json.loads(body), headers["X-Request-Id"]]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(100)))
    assert [status for status, _ in answers] == [200] * 100
    assert [seen[0] for _, seen in answers] == [str(number) for number in range(100)]
    assert all(len(set(seen[1:])) == 1 for _, seen in answers)
    assert len({seen[1] for _, seen in answers}) == 100
