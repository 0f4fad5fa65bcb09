"""Provisioning and removal look at the names of a stage's parameters, and read no value."""

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from infra import destroy, project, provision

URL = "/eventline/dev/slack/webhook_url"
OTHERS = ["/eventline/prod/slack/webhook_url", "/eventline/devil/x", "/other"]


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Parameter Store as moto has it, where whoever reads a value is refused."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = project.client(project.session(), "ssm")
        for name in OTHERS:
            client.put_parameter(Name=name, Type="SecureString", Value="secret")

        def refuse(**_: Any) -> None:
            raise AssertionError("a value is read")

        for operation in ("GetParameter", "GetParameters", "GetParametersByPath"):
            client.meta.events.register(f"before-call.ssm.{operation}", refuse)
        yield client


def test_a_missing_url_of_slack_is_told_of(ssm: Any, capsys: pytest.CaptureFixture[str]) -> None:
    provision._look_for_webhook(ssm, URL)
    assert URL in capsys.readouterr().out
    ssm.put_parameter(Name=URL, Type="SecureString", Value="https://hooks.slack.com/services/x")
    provision._look_for_webhook(ssm, URL)
    assert capsys.readouterr().out == ""


def test_the_parameters_of_the_stage_and_no_others_are_removed(ssm: Any) -> None:
    own = [URL, "/eventline/dev/webhooks/github/secret", "/eventline/dev/deployment"]
    for name in own:
        ssm.put_parameter(Name=name, Type="SecureString", Value="secret")
    destroy._delete_parameters(ssm, "dev")
    left = [one["Name"] for one in ssm.describe_parameters()["Parameters"]]
    assert sorted(left) == sorted(OTHERS)
