"""What every client of AWS refuses to take for an answer."""

import logging
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from chalicelib.aws import clients
from chalicelib.aws.faults import is_aws_fault
from chalicelib.core.errors import UnavailableError
from tests.support.app_on_moto import Platform
from tests.support.problems import check_problem

KEY = {"pk": {"S": "EVENT#1"}}
WHOLE = b'{"Item":{"pk":{"S":"EVENT#1"}}}'
LOST = b'{"Item":{"pk":{"S":"EVENT#1"}'


class Raw(BytesIO):
    """The body of an answer as it comes in."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


def answered(client: Any, body: bytes, **headers: str) -> Any:
    """What the client makes of an answer of AWS."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return AWSResponse(request.url, 200, named, Raw(body))

    client.meta.events.register_first("before-send", answer, unique_id="answer")
    try:
        return client.get_item(TableName="t", Key=KEY)
    finally:
        client.meta.events.unregister("before-send", unique_id="answer")


@pytest.mark.usefixtures("platform")
def test_an_answer_that_was_cut_short_is_no_answer() -> None:
    # Given answers without a length, the last two of which lost their ends
    client = clients.aws("dynamodb")
    assert answered(client, WHOLE)["Item"] == KEY
    assert "Item" not in answered(client, b"{}")
    for body in (LOST, WHOLE[:5]):
        # Then the SDK does not take them for "there is no such item"
        with pytest.raises(Exception, match="ends before its end") as caught:
            answered(client, body)
        assert is_aws_fault(caught.value)


def test_a_request_whose_look_up_is_cut_short_is_to_be_sent_again(platform: Platform) -> None:
    # Given an event that is there
    sender = platform.sender("events:write", "events:read")
    event_id = sender.event_id({"eventType": "demo"})
    # When the ledger's answer loses its end
    client = clients.aws("dynamodb")

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        is_of_event = b"EVENT#" in request.body
        return AWSResponse(request.url, 200, {}, Raw(LOST)) if is_of_event else None

    client.meta.events.register_first("before-send.dynamodb.GetItem", answer, unique_id="cut")
    response = sender.get(f"/events/{event_id}")
    client.meta.events.unregister("before-send.dynamodb.GetItem", unique_id="cut")
    # Then the answer is not that there is none
    check_problem(response, 503, "unavailable")
    assert sender.get(f"/events/{event_id}").status_code == 200


@pytest.fixture
def old_sdk(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """The application on a Lambda runtime whose botocore does not know `IfNoneMatch`."""
    import botocore

    with monkeypatch.context() as patch:
        patch.setattr(botocore, "__version__", "1.35.1")
        clients.reset()
        yield platform
    clients.reset()


def test_a_runtime_whose_sdk_is_too_old_shows_at_the_health_check(
    old_sdk: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            response = old_sdk.client.http.get("/health")
            check_problem(response, 503, "unavailable")
    # One line, whatever is asked
    told = [line for line in caplog.records if line.getMessage() == "botocore too old"]
    assert [vars(line)["found"] for line in told] == ["1.35.1"]
    assert [vars(line)["needed"] for line in told] == ["1.35.2"]
    # No client is made, so that nothing fails half way with a ParamValidationError
    with pytest.raises(UnavailableError, match=r"botocore 1\.35\.1 is too old: 1\.35\.2"):
        clients.aws("s3")


@pytest.mark.parametrize("version", ["1.35.2", "1.40.0", "2.0.0"])
def test_a_newer_sdk_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore

    monkeypatch.setattr(botocore, "__version__", version)
    clients.sdk_fault.cache_clear()
    assert clients.sdk_fault() is None


def test_the_oldest_sdk_is_that_of_the_newest_thing_we_send() -> None:
    # botocore's CHANGELOG: 1.35.2, "conditional writes" of S3. What is sent beside it is older:
    # ReturnValuesOnConditionCheckFailure is of 1.29.164.
    model = clients.aws("s3").meta.service_model.operation_model("PutObject")
    assert "IfNoneMatch" in model.input_shape.members
    assert clients.OLDEST_BOTOCORE >= (1, 35, 2)
