"""What the AWS SDK raises, told from our own faults."""

import subprocess
import sys

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from chalicelib.aws.faults import aws_code, is_aws_fault
from chalicelib.core.errors import EventlineError
from tests.support.faults import no_answer, refusal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal("PutItem", "SlowDown"), "SlowDown"),
        (no_answer(), "ReadTimeoutError"),
        (EndpointConnectionError(endpoint_url="https://aws.invalid"), "EndpointConnectionError"),
        (ResponseParserError("half an answer"), "ResponseParserError"),
    ],
)
def test_what_the_sdk_raises_is_an_aws_fault(error: Exception, code: str) -> None:
    assert is_aws_fault(error)
    assert aws_code(error) == code


def test_a_subclass_made_by_a_client_is_an_aws_fault() -> None:
    made = type("ThrottlingException", (ClientError,), {})
    assert is_aws_fault(made({"Error": {"Code": "ThrottlingException"}}, "PutItem"))


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), EventlineError("x")])
def test_our_own_faults_are_none_of_aws(error: Exception) -> None:
    assert not is_aws_fault(error)


def test_who_meets_no_fault_imports_no_sdk() -> None:
    code = """
import sys
from chalicelib.aws.faults import aws_faults
try:
    pass
except aws_faults():
    pass
print("botocore" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
